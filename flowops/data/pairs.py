r"""Pairs of base and data samples as a data set: from tensors, from a file, from a flow map, by optimal transport."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from flowops._arguments import check_like, check_state, whole
from flowops._keys import content_hash, generator
from flowops.couplings import OptimalTransport
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.files.arrays import read_arrays
from flowops.data.rows import chosen, moved, rows
from flowops.maps import FlowMap


class Pairs(Dataset):
    """Aligned pairs in memory: a batch has its `x0`, and pairs and labels stay together.

    Args:
        x0: base samples, `[n, *event]` float32.
        x1: their partners, like `x0`.
        labels: `[n]` whole numbers from 0, or None.
        name: as in `open_dataset`.
        classes: names by label; the numbers themselves if not given.
        normal_base: whether `x0` is standard normal, so that sampling may start from fresh noise; see `Dataset`.

    Raises:
        TypeError, ValueError: for tensors that do not match or are not finite, another dtype, or no pairs.
    """

    def __init__(
        self,
        x0: Tensor,
        x1: Tensor,
        labels: Tensor | None = None,
        *,
        name: str = "pairs",
        classes: tuple[str, ...] = (),
        normal_base: bool = False,
    ) -> None:
        _check_base(x0)
        check_like(x1, x0, "x1", "x0")
        for which, x in (("x0", x0), ("x1", x1)):
            if not bool(x.isfinite().all()):
                raise ValueError(f"`{which}` must be finite, got nan or inf; look for where it was computed.")
        self.name, self.x0, self.x1, self.labels = name, x0, x1, _checked(labels, x0)
        count = 0 if self.labels is None else int(self.labels.max()) + 1
        self.classes = classes or tuple(str(label) for label in range(count))
        self.event, self.size, self.normal_base = x0.shape[1:], len(x0), normal_base
        content = content_hash(part for part in (x0.detach(), x1.detach(), self.labels) if part is not None)
        self.provenance = f"{name}: {self.size} pairs of event {list(self.event)}, {content}"

    @classmethod
    def from_flow(
        cls, X: FlowMap, x0: Tensor, labels: Tensor | None = None, *, chunk: int = 4096, **about: Any
    ) -> Pairs:
        r"""The pairs $(x_0,X_{0,1}(x_0))$, computed without gradients, `chunk` samples at a time.

        Together with `fm` they are rectified flow's second round.

        Args:
            X: a flow map, learned or solved for.
            x0: base samples, `[n, *event]` float32.
            labels: passed on as `X.given(label=...)`, if given, and kept with the pairs.
            chunk: samples in memory at once.
            **about: `name`, `classes` and `normal_base` of the pairs, as in the class.

        Raises:
            TypeError, ValueError: as the class itself, and if labels are given to a map that takes no `label`.

        Source: Liu et al. 2209.03003.
        """
        _check_base(x0)
        whole(chunk, "chunk")
        if (labels := _checked(labels, x0)) is not None:
            X = X.given(label=labels)
        with torch.no_grad():
            ends = [X.subset(part)(0.0, 1.0, x0[part]) for part in torch.arange(len(x0)).split(chunk)]
        return cls(x0.detach(), torch.cat(ends), labels, **about)

    def __len__(self) -> int:
        return len(self.x0)

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        return self.prepared(step, n, seed=seed)()

    def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Callable[[], Batch]:
        index = rows(len(self), step, n, seed, part)
        return lambda: self._take(index)

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        if split != "train":
            raise ValueError(f"`split` must be 'train' for {self.name}, got {split!r}; pairs have no other split.")
        return self._take(chosen(n, len(self), split, seed, self.name))

    def to(self, device: torch.device | str) -> Self:
        result = copy.copy(self)
        result.x0, result.x1 = self.x0.to(device), self.x1.to(device)
        result.labels = None if self.labels is None else self.labels.to(device)
        return result

    def _take(self, index: Tensor) -> Batch:
        index = moved(index, self.x0.device)
        return Batch(self.x0[index], self.x1[index], None if self.labels is None else self.labels[index])


def transported(dataset: Dataset, *, pairs: int = 131_072, block: int = 256, rounds: int = 6, seed: int = 0) -> Pairs:
    r"""Samples of a data set paired with standard normal ones, near the optimal coupling of the two laws.

    Exact assignments within random blocks, again and again: a round costs $n/B$ assignments of $B$ samples, where one
    assignment of all would cost $n^3$. Samples are exchanged within their class only, so that the base stays
    independent of the label.

    Args:
        dataset: where the data come from; of a finite set no more pairs are made than it has samples.
        pairs: how many.
        block: samples assigned at once.
        rounds: how often.
        seed: seed of the samples and of the blocks.

    Raises:
        ValueError: for numbers below 1, and a set that has base samples of its own.

    Source: Tong et al. 2302.00482; Pooladian et al. 2304.14772 (within a batch).
    """
    for name, value in (("pairs", pairs), ("block", block), ("rounds", rounds)):
        whole(value, name)
    n = pairs if dataset.size is None else min(pairs, dataset.size)
    first, x1, labels = dataset.reference(n, seed=seed)
    if first is not None:
        raise ValueError(f"`dataset` must have no base samples of its own, got {dataset.name}; it is paired already.")
    source = generator("transported", seed)
    x0 = torch.randn(x1.shape, generator=source).to(x1.device)
    couple = OptimalTransport(condition_weight=0.0 if labels is None else 1e6, block=block)
    for _ in range(rounds):
        x0, x1, labels = couple(x0, x1, labels, labels0=labels, generator=source)
    name = f"transported:{dataset.name}"
    made = Pairs(x0, x1, labels, name=name, classes=dataset.classes, normal_base=True)
    made.problem, made.defaults = dataset.problem, dataset.defaults
    made.provenance += f", coupled by transport in {rounds} rounds of blocks of {block}; {dataset.provenance}"
    return made


def open_pairs(path: Path | str | None) -> Pairs:
    """The pairs of a file: float32 arrays `x0` and `x1`, and whole numbers `label` where there are labels.

    Args:
        path: an .npz file without pickled objects, or a .safetensors file.

    Raises:
        OSError: if there is no such file.
        ValueError: for another format, missing or unknown arrays.
    """
    path, arrays = read_arrays(path, "a file of pairs")
    if not {"x0", "x1"} <= set(arrays) <= {"x0", "x1", "label"}:
        other = f"; open arrays:{path} for data without base samples" if "x1" in arrays and "x0" not in arrays else ""
        raise ValueError(
            f"`path` must hold arrays x0 and x1, and label or none, got {', '.join(sorted(arrays)) or 'nothing'} in "
            f"{path}; rename them{other}."
        )
    return Pairs(arrays["x0"], arrays["x1"], arrays.get("label"), name=f"pairs:{path}")


def _check_base(x0: Tensor) -> None:
    check_state(x0, "x0")
    if x0.dtype != torch.float32:
        raise TypeError(f"`x0` and `x1` must be float32, got {x0.dtype}; convert both to float32.")
    if not len(x0):
        raise ValueError("`x0` must hold at least one sample, got none; check where the pairs were written.")


def _checked(labels: Tensor | None, x0: Tensor) -> Tensor | None:
    if labels is None:
        return None
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex():
        raise TypeError(f"`labels` must be whole numbers, got {labels.dtype}; convert them with long().")
    if labels.shape != x0.shape[:1]:
        raise ValueError(
            f"`labels` must have shape [{len(x0)}], one per pair, got {list(labels.shape)}; drop or add some."
        )
    labels = labels.to(x0.device, torch.int64)
    if int(labels.min()) < 0:
        raise ValueError(f"`labels` must count from 0, got {int(labels.min())}; shift them.")
    return labels

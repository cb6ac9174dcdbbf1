"""Samples of any shape from one array: latents, sequences, tables; held in memory or mapped from a file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from flowops._keys import content_hash
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.files.arrays import read_arrays
from flowops.data.images import to_float
from flowops.data.rows import chosen, indexed, moved, rows
from flowops.data.units import Units

_WHOLE = 2 << 30  # bytes of a split that are hashed to the last; of more, rows at even distances
_LOOKED_AT = 4096
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Arrays(Dataset):
    r"""Samples `x1` of any shape and number of channels, with labels or without; the base is standard normal noise.

    They stay in the dtype and the place where they are, and the rows of a batch become float32 and
    $(y-\text{shift})\,\text{scale}$: latents take the scale of their autoencoder. Samples of a run are states in these
    units; `Run.restored` and the files of `flowops sample` have those of the array.

    The fingerprint is a hash of all values up to 2 GB a split, beyond that of 4096 rows at even distances; these are
    also checked to be finite.

    Args:
        splits: `[n, *event]` by split, float32, float16 or bfloat16, or bytes `[n, channels, height, width]`, which
            become `x / 127.5 - 1` first. "train" is the one that `batch` draws from.
        labels: `[n]` whole numbers from 0 for each split, or none at all; or conditions with continuous values,
            `[n, *condition]` float32.
        units: scale and shift.
        name: as in `open_dataset`.
        classes: names by label; the numbers themselves if not given.

    Raises:
        TypeError, ValueError: for another dtype, splits or labels that do not match, no samples, or values that are not
            finite.
    """

    size: int

    def __init__(
        self,
        splits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor] | None = None,
        *,
        units: Units | None = None,
        name: str = "arrays",
        classes: tuple[str, ...] = (),
    ) -> None:
        units = Units() if units is None else units
        if "train" not in splits:
            raise ValueError(f"`splits` must hold a split 'train', got {sorted(splits)}; name one of them so.")
        self.name, self.splits, self.units = name, dict(splits), units
        self.event, self.size = splits["train"].shape[1:], len(splits["train"])
        for split, x in splits.items():
            self._check(split, x)
        units.check(self.event)
        self.labels = {split: _checked(split, found, splits) for split, found in (labels or {}).items()}
        if self.labels and self.labels.keys() != self.splits.keys():
            raise ValueError(
                f"`labels` must be given for every split or for none, got those of {', '.join(self.labels)} of "
                f"{', '.join(splits)}; add or drop some."
            )
        self.condition = _condition(self.labels)
        whole = self.labels.values() if self.condition is None else ()
        count = 1 + max((int(found.max()) for found in whole), default=-1)
        if classes and len(classes) < count:
            raise ValueError(f"`classes` must name all {count} labels, got {len(classes)} names; add the others.")
        self.classes = classes or tuple(str(label) for label in range(count))
        self.device = torch.device("cpu")
        counts = ", ".join(f"{len(x)} {split}" for split, x in self.splits.items())
        told = [f"{counts} samples of event {list(self.event)}", str(units), content_hash(self._content())]
        self.provenance = f"{name}: {', '.join(filter(None, told))}"

    def __len__(self) -> int:
        return self.size

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        return self.prepared(step, n, seed=seed)()

    def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Callable[[], Batch]:
        return self._taken("train", rows(self.size, step, n, seed, part))

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        if split not in self.splits:
            raise ValueError(
                f"`split` must be one of {', '.join(self.splits)} for {self.name}, got {split!r}; choose one of them."
            )
        return self._taken(split, chosen(n, len(self.splits[split]), split, seed, self.name))()

    def to(self, device: torch.device | str) -> Self:
        result = copy.copy(self)
        result.device = indexed(device)
        return result

    def _taken(self, split: str, index: Tensor) -> Callable[[], Batch]:
        x, labels = self.splits[split][index], self.labels[split][index] if self.labels else None

        def finish() -> Batch:
            there = moved(x, self.device)
            states = self.units.states(to_float(there) if there.dtype == torch.uint8 else there.float())
            return Batch(None, states, None if labels is None else moved(labels, self.device))

        return finish

    def _check(self, split: str, x: Tensor) -> None:
        pictures = x.dtype == torch.uint8 and x.ndim == 4
        if not pictures and (x.dtype not in _DTYPES or x.ndim < 2):
            raise TypeError(
                f"`x1` must be float32, float16 or bfloat16 [n, *event], or bytes [n, channels, height, width], got "
                f"{x.dtype} of shape {list(x.shape)} in split {split}; convert it, with astype('float32') say."
            )
        if not x.numel():
            raise ValueError(f"`x1` must hold at least one sample, got {list(x.shape)} in split {split}.")
        if x.shape[1:] != self.event:
            raise ValueError(
                f"`x1` must have samples of one shape, {list(self.event)} as in split train, got {list(x.shape[1:])} "
                f"in split {split}; make them alike."
            )

    def _content(self) -> Iterator[str | Tensor]:
        for split, x in self.splits.items():
            some = torch.linspace(0, len(x) - 1, _LOOKED_AT, dtype=torch.float64).long()
            found = x if x.nbytes <= _WHOLE else x[some]
            for part in found.split(1 << 15) if found.is_floating_point() else ():
                if not bool(part.isfinite().all()):
                    raise ValueError(f"`x1` must be finite, got nan or inf in split {split}; look into it.")
            held = found.view(torch.int16) if found.dtype == torch.bfloat16 else found  # which NumPy does not know
            yield from (split, f"{len(x)} {x.dtype}", held)
            yield self.labels[split] if self.labels else "no labels"


def _condition(labels: Mapping[str, Tensor]) -> torch.Size | None:
    """The shape of conditions, the same in all splits; None for classes."""
    shapes = {found.shape[1:] if found.is_floating_point() else None for found in labels.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"`condition` must have one shape in all splits, got {' and '.join(map(str, shapes))}; mend it."
        )
    return next(iter(shapes), None)


def _checked(split: str, labels: Tensor, splits: Mapping[str, Tensor]) -> Tensor:
    n = len(splits[split]) if split in splits else 0
    if labels.dtype == torch.float32 and labels.ndim > 1:
        if len(labels) != n or not labels.numel():
            raise ValueError(
                f"`condition` must have shape [{n}, *shape], one per sample of split {split}, got "
                f"{list(labels.shape)}; drop or add some."
            )
        if not bool(labels.isfinite().all()):
            raise ValueError(f"`condition` must be finite, got nan or inf in split {split}; look into it.")
        return labels
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex() or labels.shape != (n,):
        raise ValueError(
            f"`labels` must be whole numbers of shape [{n}], one per sample of split {split}, got {labels.dtype} of "
            f"shape {list(labels.shape)}; number the classes from 0, or pass conditions, float32 [{n}, *shape]."
        )
    labels = labels.to(torch.int64)
    if int(labels.min()) < 0:
        raise ValueError(f"`labels` must count from 0, got {int(labels.min())} in split {split}; label all, or none.")
    return labels


def open_arrays(
    path: Path | str | None,
    *,
    sample: str = "x1",
    label: str | None = "label",
    condition: str | None = "condition",
    scale: float | tuple[float, ...] = 1.0,
    shift: float | tuple[float, ...] = 0.0,
) -> Arrays:
    """The samples of a file: the array `x1` of any shape `[n, *event]`, and `label` where there are labels.

    `x1_test` and `label_test` are the split "test". An .npy file is `x1` alone, and is mapped into memory.

    Args:
        path: an .npy or .npz file without pickled objects, or a .safetensors file.
        sample: name of the array of samples.
        label: name of that of the labels; none leaves them out.
        condition: name of that of conditions with continuous values, float32 `[n, *shape]`, which stand in place of
            labels; none leaves them out.
        scale: factor of the states, one number or one per channel; see `Units`.
        shift: what is taken away before, likewise.

    Raises:
        OSError: if there is no such file.
        ValueError, TypeError: for another format, missing or unknown arrays, and as `Arrays`.
    """
    units = Units(scale, shift)
    path, found = read_arrays(path, "a file of samples", sample)
    known = {sample: "train", f"{sample}_test": "test"}
    wanted = [name for name in (label, condition) if name is not None and name in found]
    if len(wanted) > 1:
        raise ValueError(
            f"`path` must hold {label} or {condition}, not both, got {', '.join(sorted(found))} in {path}; pass "
            f"label=none or condition=none."
        )
    labelled = {f"{name}{end}": split for name in wanted for end, split in (("", "train"), ("_test", "test"))}
    beside = {f"{name}{end}" for name in ("label", "condition") for end in ("", "_test")}
    if sample not in found or not found.keys() <= {*known, *labelled, *beside}:
        other = "; open pairs:FILE for base samples x0" if "x0" in found else ", or pass sample=NAME"
        raise ValueError(
            f"`path` must hold an array {sample}, and {label or 'label'}, {sample}_test or none beside it, got "
            f"{', '.join(sorted(found)) or 'nothing'} in {path}; rename them{other}."
        )
    splits = {split: found[name] for name, split in known.items() if name in found}
    labels = {split: found[name] for name, split in labelled.items() if name in found}
    return Arrays(splits, labels, units=units, name=f"arrays:{path}")

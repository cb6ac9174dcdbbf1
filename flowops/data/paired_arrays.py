"""Pairs of base and data samples as a data set, from tensors or from a file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from flowops._arguments import check_like, check_state
from flowops._extras import require
from flowops.data._checks import check_available
from flowops.data._devices import moved
from flowops.data._fingerprint import content_hash
from flowops.data._paths import check_file
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.epochs import permutation, rows


class PairedArrays(Dataset):
    """Aligned pairs in memory: a batch has its `x0`, and pairs and labels stay together.

    Args:
        x0: base samples, `[n, *event]` float32.
        x1: their partners, like `x0`.
        labels: `[n]` whole numbers from 0, or None.
        name: as in `open_dataset`.

    Raises:
        TypeError, ValueError: for tensors that do not match, another dtype, or no pairs.
    """

    def __init__(self, x0: Tensor, x1: Tensor, labels: Tensor | None = None, *, name: str = "pairs") -> None:
        check_state(x0, "x0")
        check_like(x1, x0, "x1", "x0")
        if x0.dtype != torch.float32:
            raise TypeError(f"`x0` and `x1` must be float32, got {x0.dtype}; pass x0.float() and x1.float().")
        if not len(x0):
            raise ValueError("`x0` must hold at least one sample, got none; check where the pairs were written.")
        self.name, self.x0, self.x1, self.labels = name, x0, x1, _checked(labels, x0)
        count = 0 if self.labels is None else int(self.labels.max()) + 1
        self.classes = tuple(str(label) for label in range(count))
        self.event, self.size = x0.shape[1:], len(x0)
        content = content_hash(part for part in (x0.detach(), x1.detach(), self.labels) if part is not None)
        self.provenance = f"{name}: {self.size} pairs of event {list(self.event)}, {content}"

    def __len__(self) -> int:
        return len(self.x0)

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        return self.prepared(step, n, seed=seed)()

    def prepared(self, step: int, n: int, *, seed: int) -> Callable[[], Batch]:
        index = rows(len(self), step, n, seed)
        return lambda: self._take(index)

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        if split != "train":
            raise ValueError(f"`split` must be 'train' for {self.name}, got {split!r}; pairs have no other split.")
        check_available(n, len(self), split, self.name)
        return self._take(permutation(len(self), "reference", split, seed)[:n])

    def to(self, device: torch.device | str) -> Self:
        result = copy.copy(self)
        result.x0, result.x1 = self.x0.to(device), self.x1.to(device)
        result.labels = None if self.labels is None else self.labels.to(device)
        return result

    def _take(self, index: Tensor) -> Batch:
        index = moved(index, self.x0.device)
        return Batch(self.x0[index], self.x1[index], None if self.labels is None else self.labels[index])


def open_pairs(path: Path | str | None) -> PairedArrays:
    """The pairs of a file: float32 arrays `x0` and `x1`, and whole numbers `label` where there are labels.

    Args:
        path: an .npz file without pickled objects, or a .safetensors file.

    Raises:
        OSError: if there is no such file.
        ValueError: for another format, missing or unknown arrays.
    """
    path = check_file(path, "a file of pairs", (".npz", ".safetensors"))
    arrays = _npz(path) if path.suffix == ".npz" else _safetensors(path)
    if not {"x0", "x1"} <= set(arrays) <= {"x0", "x1", "label"}:
        raise ValueError(
            f"`path` must hold arrays x0 and x1, and label or none, got {', '.join(sorted(arrays)) or 'nothing'} in "
            f"{path}; rename them."
        )
    return PairedArrays(arrays["x0"], arrays["x1"], arrays.get("label"), name=f"pairs:{path}")


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: torch.from_numpy(found[name]) for name in found.files}
    except (ValueError, OSError, EOFError, TypeError) as error:  # a zip that is none, pickled objects, odd dtypes
        raise ValueError(f"`path` must be an .npz file of plain arrays, got {path}: {error}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = require("safetensors.torch", "train").load_file(path)
    except require("safetensors", "train").SafetensorError as error:
        raise ValueError(f"`path` must be a .safetensors file, got {path}: {error}") from error
    return loaded


def _checked(labels: Tensor | None, x0: Tensor) -> Tensor | None:
    if labels is None:
        return None
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex():
        raise TypeError(f"`labels` must be whole numbers, got {labels.dtype}; pass labels.long().")
    if labels.shape != x0.shape[:1]:
        raise ValueError(f"`labels` must have shape [{len(x0)}], one per pair, got {list(labels.shape)}.")
    if int(labels.min()) < 0:
        raise ValueError(f"`labels` must count from 0, got {int(labels.min())}; shift them.")
    return labels.to(x0.device, torch.int64)

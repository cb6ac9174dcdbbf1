"""A set of images of one size, kept as bytes: on the device where they are few, mapped from a file where not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias

import torch
from torch import Tensor

from flowops._keys import content_hash, generator, rows_of
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.rows import chosen, indexed, moved, rows

Resident: TypeAlias = bool | Literal["auto"]
"""Whether all images lie on the device; `"auto"` decides by its free memory."""
_SHARE = 4  # the part of the free memory of a device, one in so many, that images may take unasked


@dataclass(frozen=True, eq=False)
class Split:
    """Images `[n, channels, height, width]` uint8, and their labels `[n]` int64 or None.

    Raises:
        TypeError, ValueError: for other dtypes and shapes, and for no images.
    """

    pixels: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8:
            raise TypeError(f"`pixels` must be uint8, got {self.pixels.dtype}; convert them with to_uint8.")
        if self.pixels.ndim != 4 or not len(self.pixels):
            raise ValueError(
                f"`pixels` must have shape [n, channels, height, width] with n of at least 1, got "
                f"{list(self.pixels.shape)}; add the axes that are missing."
            )
        if self.labels is not None and (self.labels.dtype != torch.int64 or self.labels.shape != self.pixels.shape[:1]):
            raise ValueError(
                f"`labels` must be int64 of shape [{len(self.pixels)}], one per image, got {self.labels.dtype} of "
                f"shape {list(self.labels.shape)}; convert them with long()."
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: Tensor) -> Split:
        """These rows, where the split is kept."""
        index = moved(index, self.pixels.device)
        return Split(self.pixels[index], None if self.labels is None else self.labels[index])

    def to(self, device: torch.device) -> Split:
        """The split on `device`."""
        return Split(moved(self.pixels, device), None if self.labels is None else moved(self.labels, device))

    def pinned(self) -> Split:
        """The split in page-locked memory, from where copies to CUDA do not hold up the host."""
        return Split(self.pixels.pin_memory(), None if self.labels is None else self.labels.pin_memory())

    @property
    def nbytes(self) -> int:
        """Bytes of images and labels."""
        return self.pixels.nbytes + (0 if self.labels is None else self.labels.nbytes)


def fingerprint(splits: Mapping[str, Split]) -> str:
    """A short name for the images and labels of all splits, the same wherever they were read from."""

    def parts() -> Iterator[str | Tensor]:
        for name in sorted(splits):
            labels = splits[name].labels
            yield from (name, splits[name].pixels, "no labels" if labels is None else labels)

    return content_hash(parts())


class Images(Dataset):
    """Labelled or unlabelled images, drawn without replacement within an epoch, mirrored at random if `flips`.

    Args:
        name: as in `open_dataset`.
        splits: the images by split; "train" is the one that `batch` draws from.
        classes: names by label.
        provenance: one line, as in `Dataset`.
        flips: whether every image of a batch is mirrored left to right with probability one half, drawn anew at
            every step.
        resident: whether `to` moves all images to the device; otherwise only the rows of a batch travel. `"auto"` moves
            them to CUDA if they take less than a quarter of its free memory.
        defaults: as in `Dataset`.

    Raises:
        ValueError: if there is no split "train", and for another word as `resident`.
    """

    def __init__(
        self,
        name: str,
        splits: dict[str, Split],
        *,
        provenance: str,
        classes: tuple[str, ...] = (),
        flips: bool = False,
        resident: Resident = True,
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        if "train" not in splits:
            raise ValueError(f"`splits` must hold a split 'train', got {sorted(splits)}; name one of them so.")
        check_resident(resident)
        self.name, self.classes, self.provenance = name, classes, provenance
        self.splits, self.flips, self.resident, self.defaults = splits, flips, resident, defaults
        self.device = torch.device("cpu")
        self.event = splits["train"].pixels.shape[1:]
        self.size: int = len(splits["train"])

    def __len__(self) -> int:
        return self.size

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        return self.prepared(step, n, seed=seed)()

    def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Callable[[], Batch]:
        index, flip = rows(self.size, step, n, seed, part), None
        if self.flips:
            flip = torch.rand(n, generator=generator("flips", seed, step))[rows_of(n, part)] < 0.5
        split = self.splits["train"]
        if split.pixels.device.type != "cpu":
            return lambda: self._finish(split.take(index), flip)
        taken = split.take(index)
        if self.device.type != "cpu":
            taken = taken.pinned() if self.device.type == "cuda" else taken
            return lambda: self._finish(taken, flip)
        batch = self._finish(taken, flip)
        return lambda: batch

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        held = self._split(split)
        return self._finish(held.take(chosen(n, len(held), split, seed, self.name)), None)

    def pixels(self, split: str = "train") -> Tensor:
        """All images of a split as bytes, `[n, channels, height, width]`, where they are kept and in their order.

        Raises:
            ValueError: if there is no such split.
        """
        return self._split(split).pixels

    def to(self, device: torch.device | str) -> Self:
        result = copy.copy(self)
        result.device = indexed(device)
        if self._resides(result.device):
            result.splits = {name: split.to(result.device) for name, split in self.splits.items()}
        return result

    def _resides(self, device: torch.device) -> bool:
        """Whether all images are to lie on that device."""
        if self.resident != "auto" or device.type == "cpu":
            return bool(self.resident)
        if device.type != "cuda":
            return False
        return _SHARE * sum(split.nbytes for split in self.splits.values()) < torch.cuda.mem_get_info(device)[0]

    def _split(self, name: str) -> Split:
        if name not in self.splits:
            raise ValueError(
                f"`split` must be one of {', '.join(self.splits)} for {self.name}, got {name!r}; choose one of them."
            )
        return self.splits[name]

    def _finish(self, taken: Split, flip: Tensor | None) -> Batch:
        taken = taken.to(self.device)
        pixels = taken.pixels
        if flip is not None:
            pixels = torch.where(moved(flip, self.device)[:, None, None, None], pixels.flip(-1), pixels)
        return Batch(None, to_float(pixels), taken.labels)


def check_resident(resident: object) -> None:
    """Refuse another word than those of `Images`."""
    if resident not in (True, False, "auto"):
        raise ValueError(f"`resident` must be true, false or auto, got {resident!r}; choose one of them.")


def to_float(pixels: Tensor) -> Tensor:
    """Bytes as states: `x / 127.5 - 1` in float32, any shape.

    Raises:
        TypeError: for anything but uint8.
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(f"`pixels` must be uint8, got {pixels.dtype}; floating images need no conversion.")
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """The nearest image: `127.5 (x + 1)`, rounded and clamped to the range 0..255 of an image, any shape.

    The exact inverse of `to_float`.

    Raises:
        TypeError: for a tensor without a floating dtype.
        ValueError: for values that are not finite, which no image can show.
    """
    if not x.is_floating_point():
        raise TypeError(f"`x` must have a floating dtype, got {x.dtype}; bytes need no conversion.")
    if not bool(x.isfinite().all()):
        raise ValueError("`x` must be finite to become an image, got nan or inf; look for where it was computed.")
    return x.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)

"""Data sets of others that give a sample by its number: torch's map-style ones, and all that behaves like them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._keys import content_hash, key, rows_of
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.images import to_float
from flowops.data.items import Items, check_map_style, class_names, is_map_style, kind_of
from flowops.data.keyed_items import Read, Workers, read
from flowops.data.prefetched import THREAD
from flowops.data.rows import chosen, indexed, moved, rows

_LOOKED_AT = 16  # items of a split that its fingerprint reads


class Indexed(Dataset):
    r"""A map-style data set, `items[i]` for $0\le i<$ `len(items)`, such as a `torch.utils.data.Dataset`.

    An item is the sample alone, `(sample, label)`, or a mapping with named columns. A sample is a tensor or an array of
    float32 (half precision is widened), of bytes `[channels, height, width]`, which become `x / 127.5 - 1`, or a
    picture of Pillow, grey or RGB, which becomes such bytes. All have the shape and dtype of the first one.

    Items may be random. What a transform draws from the global generators of torch, NumPy and Python then follows from
    the seed, the step and the place of the item in the batch: they are seeded before every item and put back after a
    batch, so that a resumed run and any number of processes see the same. Draws from elsewhere, as from generators of a
    transform's own, are refused where the first items show them.

    The fingerprint is a hash of 16 items at even distances and of how many there are, not of the whole set. The rows
    are those of `data.rows`. Samples of `reference` go through the same transforms, with one draw for each row.

    Args:
        items: the data set.
        test: another one like it, for the split "test".
        name: as in `Dataset`.
        sample: name of the column of samples, where items are mappings; by default the first that there is of x1,
            image, img, pixel_values and x.
        label: likewise that of the labels; by default label, labels or condition, if there is one. False leaves them
            out. A float32 tensor in place of a number is a condition with continuous values.
        classes: names of the classes, or how many; by default what `items.classes` says, or the labels that torch's and
            torchvision's own sets hold in `tensors` and `targets`.
        random: whether items may be random. Otherwise nothing is seeded, and a thread reads them ahead of time.
        workers: processes that read ahead of time, with the same result; without them random items are read while the
            training waits.
        about: what the set is, in a few words for its provenance.

    Raises:
        TypeError: for an object without length and numbers, such as an iterable data set.
        ValueError: for items that are no samples, differ from the first one, or draw from generators of their own, and
            for labels without known classes.
    """

    size: int

    def __init__(
        self,
        items: Any,
        *,
        test: Any = None,
        name: str = "indexed",
        sample: str | None = None,
        label: str | bool | None = None,
        classes: int | Sequence[str] | None = None,
        random: bool = True,
        workers: int = 0,
        about: str = "",
    ) -> None:
        held = {"train": check_map_style(items, "items")}
        if test is not None:
            held["test"] = check_map_style(test, "test")
        self.name, self.size, self.random = name, len(items), random
        self.items = {split: Items(found, f"{name}, split {split}", sample, label) for split, found in held.items()}
        x, first = read(self.items["train"], [0], self._keys("first", [0]))
        if first is not None and first.is_floating_point():
            self.condition = first.shape[1:]
        elif first is not None:
            self.classes = class_names(items, classes, name)
        kind = kind_of(None if first is None else 0 if self.classes else first[0])
        for found in self.items.values():
            found.like, found.classes = (x.shape[1:], x.dtype, kind), len(self.classes) or None
        self.event, self.device = x.shape[1:], torch.device("cpu")
        self.workers = Workers(self.items["train"], workers) if whole(workers, "workers", 0) else None
        counts = ", ".join(f"{len(found)} {split}" for split, found in self.items.items())
        told = "".join(f"{text}, " for text in (about, f"{counts} samples of event {list(self.event)}") if text)
        self.provenance = f"{name}: {told}{content_hash(self._looked_at())} of up to {_LOOKED_AT} of each split"

    def __len__(self) -> int:
        return self.size

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        return self.prepared(step, n, seed=seed)()

    def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Callable[[], Batch]:
        own = rows(self.size, step, n, seed, part).tolist()
        keys = self._keys("item", range(n)[rows_of(n, part)], seed, step)
        if self.workers is not None:
            found = self.workers.read(own, keys)
            return lambda: self._finish(found)
        if keys is None:
            found = read(self.items["train"], own, None)
            return lambda: self._finish(found)
        return lambda: self._finish(self._read_alone(own, keys))

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        if split not in self.items:
            raise ValueError(
                f"`split` must be one of {', '.join(self.items)} for {self.name}, got {split!r}; choose one of them."
            )
        own = chosen(n, len(self.items[split]), split, seed, self.name).tolist()
        return self._finish(read(self.items[split], own, self._keys("reference", own)))

    def to(self, device: torch.device | str) -> Self:
        result = copy.copy(self)
        result.device = indexed(device)
        return result

    def _keys(self, what: str, numbers: Sequence[int], *parts: int) -> list[int] | None:
        """A seed for the random numbers of each item; none where nothing is random."""
        return [key("items", what, *parts, number) for number in numbers] if self.random else None

    def _read_alone(self, own: list[int], keys: list[int]) -> Read:
        if threading.current_thread().name == THREAD:
            raise ValueError(
                f"`workers` must be at least 1 to couple the random items of {self.name}, got 0, since a coupling "
                f"reads beside the training, whose generators they would share; pass it to flowops.data.Indexed, or "
                f"random=False if they are not random."
            )
        return read(self.items["train"], own, keys)

    def _finish(self, found: Read) -> Batch:
        x, labels = moved(found[0], self.device), found[1]
        x = to_float(x) if x.dtype == torch.uint8 else x
        return Batch(None, x, None if labels is None else moved(labels, self.device))

    def _looked_at(self) -> Iterator[str | Tensor]:
        """What the fingerprint is made of; every item of it twice, which shows random numbers from elsewhere."""
        for split, items in self.items.items():
            count = min(_LOOKED_AT, len(items))
            own = [k * (len(items) - 1) // max(count - 1, 1) for k in range(count)]
            (x, labels), (again, _) = (read(items, own, self._keys("fingerprint", own)) for _ in range(2))
            if not torch.equal(x, again):
                raise ValueError(
                    f"The items of {self.name} must be the same when they are read again"
                    f"{' under the same seed' if self.random else ''}, and they differ; let transforms draw from the "
                    f"global generators of torch, NumPy or Python{'' if self.random else ', and pass random=True'}."
                )
            yield from (split, str(len(items)), x, "no labels" if labels is None else labels)


def as_dataset(found: Any) -> Any:
    """A map-style data set of somebody else's as an `Indexed` one; anything else as it is."""
    return found if isinstance(found, Dataset) or not is_map_style(found) else Indexed(found)

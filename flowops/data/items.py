"""Samples of data sets of others, one by one: what an item may be, and that all are like the first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from flowops.data.files.decoding import planes

SAMPLES = ("x1", "image", "img", "pixel_values", "x")
LABELS = ("label", "labels")
CONDITION = "condition"
_ADVICE = re.compile(r" \(pass [^)]*\)")
Label: TypeAlias = int | Tensor | None
_EXACT = (torch.float32, torch.float16, torch.bfloat16)


def kind_of(label: Label) -> str | None:
    """What an item has beside its sample: a label, a condition of some shape, or nothing."""
    if label is None:
        return None
    return "a label" if isinstance(label, int) else f"a condition of shape {list(label.shape)}"


class Items:
    """The items of a map-style data set as samples with labels, each checked against the first one.

    Args:
        source: the data set.
        name: how errors call it.
        sample: column of the samples where items are mappings; None for the first of `SAMPLES` that there is.
        label: likewise that of the labels, or of conditions with continuous values; False leaves them out.
    """

    def __init__(self, source: Any, name: str, sample: str | None = None, label: str | bool | None = None) -> None:
        self.source, self.name, self.sample, self.label = source, name, sample, label
        self.like: tuple[torch.Size, torch.dtype, object] | None = None
        self.classes: int | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __call__(self, row: int) -> tuple[Tensor, Label]:
        """The sample of a row, float32 or bytes, and its label or condition.

        Raises:
            ValueError, TypeError: for what is no sample, or is not like the first one.
        """
        x, label = self._parts(self.source[row], row)
        value, number = self._tensor(x, row), None if label is None else self._number(label, row)
        found = (value.shape, value.dtype, kind_of(number))
        if self.like is None:
            return value, number
        if found[:2] != self.like[:2]:
            (shape, dtype), (wanted, kind) = found[:2], self.like[:2]
            raise ValueError(
                f"The items of {self.name} must all be {kind} of shape {list(wanted)} like the first, got {dtype} of "
                f"shape {list(shape)} at item {row}; resize or crop them, or leave it out."
            )
        if found[2] != self.like[2]:
            have, lacks = self.like[2] or "no label", found[2] or "none"
            raise ValueError(
                f"The items of {self.name} must all have {have} like the first, got {lacks} at item {row}; label all, "
                f"or pass label=False."
            )
        if isinstance(number, int) and self.classes is not None and number >= self.classes:
            raise ValueError(
                f"The labels of {self.name} must be below its {self.classes} classes, got {number} at item {row}; pass "
                f"classes={number + 1} or more."
            )
        return value, number

    def _parts(self, item: Any, row: int) -> tuple[Any, Any]:
        """Sample and label of an item."""
        if isinstance(item, Mapping):
            sample = self._column(item, self.sample, SAMPLES, "sample", row)
            named = self.label if isinstance(self.label, str) else None
            if self.label is False or (named is None and not any(name in item for name in (*LABELS, CONDITION))):
                return item[sample], None
            return item[sample], item[self._column(item, named, (*LABELS, CONDITION), "label", row)]
        if isinstance(item, tuple | list) and not (item and isinstance(item[0], int | float)):
            if len(item) not in (1, 2):
                raise ValueError(
                    f"The items of {self.name} must be a sample, (sample, label) or a mapping, got {len(item)} parts "
                    f"at item {row}; give them names and pass sample= and label=."
                )
            return item[0], item[1] if len(item) == 2 and self.label is not False else None
        return item, None

    def _column(self, item: Mapping[str, Any], name: str | None, known: Sequence[str], what: str, row: int) -> str:
        found = [column for column in ((name,) if name else known) if column in item]
        if not found:
            raise ValueError(
                f"The items of {self.name} must have a column {name or ', '.join(known)} for the {what}, got "
                f"{', '.join(map(str, item)) or 'nothing'} at item {row}; pass {what}=NAME."
            )
        return str(found[0])

    def _tensor(self, x: Any, row: int) -> Tensor:
        if type(x).__module__.startswith("PIL."):
            pixels = planes(x, None, None)
            if isinstance(pixels, str):
                told = _ADVICE.sub("", pixels)  # options of sets that open their files themselves
                raise ValueError(f"The items of {self.name} must be {told}, at item {row}; convert it.")
            return torch.from_numpy(np.array(pixels))
        value = x if isinstance(x, Tensor) else self._array(x, row)
        if value.ndim and value.dtype in _EXACT and value.numel():
            value = value.detach().to("cpu", torch.float32)
            if bool(value.isfinite().all()):
                return value
            raise ValueError(f"The items of {self.name} must be finite, got nan or inf at item {row}; look into it.")
        if value.dtype == torch.uint8 and value.ndim == 3 and value.numel():
            return value.detach().cpu()
        raise TypeError(
            f"The items of {self.name} must be float32, or images as bytes [channels, height, width], got "
            f"{value.dtype} of shape {list(value.shape)} at item {row}; convert it, with .float() say."
        )

    def _array(self, x: Any, row: int) -> Tensor:
        try:
            held = np.array(x, np.float32) if isinstance(x, list) and np.asarray(x).dtype == float else np.array(x)
            return torch.from_numpy(held)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"The items of {self.name} must be tensors, arrays or pictures, got {type(x).__name__} at item {row}; "
                f"convert it."
            ) from error

    def _number(self, label: Any, row: int) -> int | Tensor:
        held = np.asarray(label.cpu() if isinstance(label, Tensor) else label)
        if held.dtype == np.float32 and held.ndim and np.isfinite(held).all():
            return torch.from_numpy(held.copy())
        if held.dtype.kind not in "iu" or held.size != 1 or int(held.reshape(())) < 0:
            told = "no label" if label is None else repr(label)[:40]
            raise ValueError(
                f"The labels of {self.name} must be whole numbers from 0, or finite float32 tensors as "
                f"conditions, got {told} at item {row}; number the classes, or pass label=False."
            )
        return int(held.reshape(()))


def check_map_style(source: Any, name: str) -> Any:
    """A data set that has a length and gives its samples by number, and at least one.

    Raises:
        TypeError, ValueError: for anything else.
    """
    if isinstance(source, torch.utils.data.IterableDataset) or not is_map_style(source):
        raise TypeError(
            f"`{name}` must be a map-style data set, with a length and samples by number, got {type(source).__name__}; "
            f"write what is iterated over into shards and open wds:PATTERN, say."
        )
    if not len(source):
        raise ValueError(
            f"`{name}` must hold at least one sample, got an empty {type(source).__name__}; look for them."
        )
    return source


def is_map_style(source: Any) -> bool:
    """Whether an object is a data set of somebody else's that `Indexed` takes, not a plain container."""
    plain = isinstance(source, type | str | bytes | Sequence | Mapping | Tensor | np.ndarray)
    return not plain and hasattr(source, "__len__") and hasattr(source, "__getitem__")


def class_names(source: Any, given: int | Sequence[str] | None, name: str) -> tuple[str, ...]:
    """The names of the classes of a labelled data set, from what is given or what the data set says.

    Raises:
        ValueError: where neither does.
    """
    if isinstance(given, str) or given == 0:
        raise ValueError(
            f"`classes` must be a number from 1 or a sequence of names, got {given!r}; pass classes=10, say."
        )
    if given is not None:
        return _numbered(given) if isinstance(given, int) else tuple(map(str, given))
    while isinstance(source, torch.utils.data.Subset):
        source = source.dataset
    named = getattr(source, "classes", None)
    if isinstance(named, Sequence) and not isinstance(named, str) and named:
        return tuple(map(str, named))
    tensors: Sequence[Tensor] = getattr(source, "tensors", ())
    held = tensors[1] if len(tensors) == 2 else getattr(source, "targets", None)
    if held is None or not len(held):
        raise ValueError(
            f"`classes` must be given for {name}, which has labels and does not say how many; wrap it as "
            f"flowops.data.Indexed(items, classes=10), or with label=False."
        )
    return _numbered(int(torch.as_tensor(held).max()) + 1)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(count))

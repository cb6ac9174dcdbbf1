"""Data sets by name."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowops.data import toys
from flowops.data.cifar10 import open_cifar10
from flowops.data.dataset import Dataset
from flowops.data.digits import digits
from flowops.data.folder import open_folder
from flowops.data.imagenet32 import open_imagenet32
from flowops.data.paired_arrays import open_pairs


@dataclass(frozen=True)
class Entry:
    """How a data set is opened: `open(**options)`, or `open(path, **options)` where it is read from files."""

    open: Callable[..., Dataset]
    summary: str
    files: bool = False


ENTRIES: dict[str, Entry] = {
    "checkerboard": Entry(toys.checkerboard, "uniform on the dark squares of a 4 x 4 board"),
    "gaussians": Entry(toys.gaussians, "eight normal modes on a circle, labelled"),
    "moons": Entry(toys.moons, "two half circles, labelled"),
    "spirals": Entry(toys.spirals, "two spiral arms, labelled"),
    "pinwheel": Entry(toys.pinwheel, "five sheared arms, labelled"),
    "digits": Entry(digits, "1797 handwritten digits of 8 x 8, labelled"),
    "cifar10": Entry(open_cifar10, "CIFAR-10 from its original archive, labelled", files=True),
    "imagenet32": Entry(open_imagenet32, "ImageNet at 32 x 32, either published version", files=True),
    "folder": Entry(open_folder, "pictures of one size in folders or an archive, `folder:PATH`", files=True),
    "pairs": Entry(open_pairs, "base and data samples from an .npz or .safetensors file, `pairs:FILE`", files=True),
}
"""Every named data set."""

NAMES: tuple[str, ...] = tuple(ENTRIES)
"""What `open_dataset` takes as a name, apart from `package.module:factory`."""


def open_dataset(name: str, *, path: Path | str | None = None, **options: Any) -> Dataset:
    """The data set of that name.

    Args:
        name: one of `NAMES`, with its path behind a colon where it is read from files, as in `folder:PATH`; or
            `package.module:factory`, a function that returns a `Dataset`.
        path: where the files are, for a set that is read from files.
        **options: those of the set, such as `flip`; `describe` lists them.

    Raises:
        ValueError: for an unknown name, a path that is missing or not needed, and files that do not fit.
        TypeError: for an unknown option, or a factory that returns something else.
        OSError: for files that are not there.
    """
    head, _, tail = name.partition(":")
    if head not in ENTRIES:
        return _from_factory(name, head, tail, path, options)
    entry = ENTRIES[head]
    if tail:
        if path is not None or not entry.files:
            taken = f"`path` given, {path}" if entry.files else "no files"
            raise ValueError(f"`name` must be {head!r} alone with {taken}, got {name!r}; leave out {':' + tail!r}.")
        path = tail
    if path is not None and not entry.files:
        raise ValueError(f"`path` must be None for {head}, which is read from no file, got {path}; leave it out.")
    known = _options(entry)
    if unknown := sorted(set(options) - set(known)):
        offered = ", ".join(known) or "none"
        raise TypeError(f"`options` of {head} must be among {offered}, got {unknown[0]!r}; leave it out.")
    return entry.open(path, **options) if entry.files else entry.open(**options)


def describe() -> str:
    """A line for every name: what it is, and its options with their defaults."""
    lines = []
    for name, entry in ENTRIES.items():
        options = ", ".join(f"{option}={default!r}" for option, default in _options(entry).items())
        lines.append(f"{name:<14}{entry.summary}" + (f" ({options})" if options else ""))
    return "\n".join(lines)


def _options(entry: Entry) -> dict[str, Any]:
    parameters = inspect.signature(entry.open).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _from_factory(name: str, module: str, factory: str, path: Path | str | None, options: dict[str, Any]) -> Dataset:
    if not factory:
        close = difflib.get_close_matches(name, ENTRIES, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"`name` must be one of {', '.join(NAMES)} or package.module:factory, got {name!r}{hint}")
    try:
        make = getattr(importlib.import_module(module), factory)
    except (ModuleNotFoundError, AttributeError) as error:
        close = difflib.get_close_matches(module, ENTRIES, 1)
        hint = f"did you mean {close[0] + ':' + factory!r}?" if close else "check that it can be imported from here."
        raise ValueError(f"`name` must name a function to import, got {name!r} ({error}); {hint}") from error
    made = make(**options) if path is None else make(path, **options)
    if not isinstance(made, Dataset):
        raise TypeError(f"{name} must return a flowops.data.Dataset, got {type(made).__name__}; subclass it.")
    return made

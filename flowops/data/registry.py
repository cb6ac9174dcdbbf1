"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from flowops._named import check_options, load, meant, options_of
from flowops.data import toys
from flowops.data.cifar10 import open_cifar10
from flowops.data.dataset import Dataset
from flowops.data.digits import digits
from flowops.data.image_folder import open_folder
from flowops.data.imagenet32 import open_imagenet32
from flowops.data.pairs import open_pairs, transported


@dataclass(frozen=True)
class Entry:
    """How a data set is opened: `open(**options)`, or `open(place, **options)` where it is made from something else.

    Attributes:
        open: makes it.
        summary: a line for a list.
        place: what it is made from, `path` or the name of another `dataset`; empty for a set that needs nothing.
    """

    open: Callable[..., Dataset]
    summary: str
    place: str = ""


def _transported(dataset: str | None, **options: Any) -> Dataset:
    if dataset is None:
        raise ValueError("`dataset` must say what is transported, got 'transported' alone; write transported:digits.")
    return transported(open_dataset(str(dataset)), **options)


ENTRIES: dict[str, Entry] = {
    "checkerboard": Entry(toys.checkerboard, "uniform on the dark squares of a 4 x 4 board"),
    "gaussians": Entry(toys.gaussians, "eight normal modes on a circle, labelled"),
    "moons": Entry(toys.moons, "two half circles, labelled"),
    "spirals": Entry(toys.spirals, "two spiral arms, labelled"),
    "pinwheel": Entry(toys.pinwheel, "five sheared arms, labelled"),
    "digits": Entry(digits, "1797 handwritten digits of 8 x 8, labelled"),
    "cifar10": Entry(open_cifar10, "CIFAR-10 from its original archive, labelled", "path"),
    "imagenet32": Entry(open_imagenet32, "ImageNet at 32 x 32, either published version", "path"),
    "folder": Entry(open_folder, "images of one size in folders or an archive, `folder:PATH`", "path"),
    "pairs": Entry(open_pairs, "base and data samples from an .npz or .safetensors file, `pairs:FILE`", "path"),
    "transported": Entry(
        _transported, "another set paired with noise by optimal transport, `transported:NAME`", "dataset"
    ),
}
"""Every named data set."""

NAMES: tuple[str, ...] = tuple(ENTRIES)
"""What `open_dataset` takes as a name, apart from `package.module:factory`."""


def open_dataset(name: str | Dataset, *, path: Path | str | None = None, **options: Any) -> Dataset:
    """The data set of that name; a data set is returned as it is.

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
    if isinstance(name, Dataset):
        return name
    if not isinstance(name, str):
        raise TypeError(f"`dataset` must be the name of a data set or a Dataset, got {type(name).__name__}; pass one.")
    head, _, tail = name.partition(":")
    if head not in ENTRIES:
        return _from_factory(name, path, options)
    entry = ENTRIES[head]
    if tail:
        if path is not None or not entry.place:
            taken = f"`path` given, {path}" if entry.place else "no files"
            raise ValueError(f"`dataset` must be {head!r} alone with {taken}, got {name!r}; leave out {':' + tail!r}.")
        path = tail
    if path is not None and not entry.place:
        raise ValueError(f"`path` must be None for {head}, which is read from no file, got {path}; leave it out.")
    check_options(options, _options(entry), head)
    return entry.open(path, **options) if entry.place else entry.open(**options)


def describe() -> str:
    """A line for every name: what it is, and its options with their defaults."""
    lines = []
    for name, entry in ENTRIES.items():
        options = ", ".join(f"{option}={default!r}" for option, default in _options(entry).items())
        lines.append(f"{name:<14}{entry.summary}" + (f" ({options})" if options else ""))
    return "\n".join(lines)


def _options(entry: Entry) -> dict[str, Any]:
    return options_of(transported if entry.open is _transported else entry.open)


def _from_factory(name: str, path: Path | str | None, options: dict[str, Any]) -> Dataset:
    head, colon, tail = name.partition(":")
    hint = meant(head, ENTRIES).replace("'?", f"{colon}{tail}'?")
    if not colon:
        raise ValueError(f"`dataset` must be one of {', '.join(NAMES)} or package.module:factory, got {name!r}{hint}")
    try:
        make = load(name, "dataset")
    except ValueError as error:
        raise ValueError(str(error).rstrip(".") + hint) from error
    if isinstance(make, Dataset):
        check_options(options, {}, name)
        return make
    arguments = () if path is None else (path,)
    try:
        signature(make).bind(*arguments, **options)
    except TypeError as error:
        raise TypeError(
            f"`dataset` must name a function of (path, options...) or a Dataset, got {name!r}: {error}; mend it."
        ) from None
    made = make(*arguments, **options)
    if not isinstance(made, Dataset):
        raise TypeError(f"{name} must return a flowops.data.Dataset, got {type(made).__name__}; subclass it.")
    return made

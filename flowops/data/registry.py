"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowops._named import Registry, check_options, load, meant, options_of
from flowops.data import toys
from flowops.data.arrays import open_arrays
from flowops.data.cifar10 import open_cifar10
from flowops.data.dataset import Dataset
from flowops.data.digits import digits
from flowops.data.hugging_face import open_hugging_face
from flowops.data.image_folder import open_folder
from flowops.data.imagenet32 import open_imagenet32
from flowops.data.indexed import as_dataset
from flowops.data.pairs import open_pairs, transported
from flowops.data.shards import open_shards


@dataclass(frozen=True)
class Entry:
    """How a data set is opened: `open(**options)`, or `open(place, **options)` where it is made from something else.

    Attributes:
        open: makes it.
        summary: what it is, in a line.
        place: what it is made from, a `path` or another `dataset`; empty for a set that needs nothing.
    """

    open: Callable[..., Dataset]
    summary: str
    place: str = ""


ENTRIES: dict[str, Entry] = {
    "checkerboard": Entry(toys.checkerboard, "uniform on the dark squares of a 4 x 4 board"),
    "gaussians": Entry(toys.gaussians, "eight normal modes on a circle, labelled"),
    "moons": Entry(toys.moons, "two half circles, labelled"),
    "spirals": Entry(toys.spirals, "two spiral arms, labelled"),
    "pinwheel": Entry(toys.pinwheel, "five sheared arms, labelled"),
    "digits": Entry(digits, "1797 handwritten digits of 8 x 8, labelled"),
    "cifar10": Entry(open_cifar10, "CIFAR-10 from its original archive, labelled", "path"),
    "imagenet32": Entry(open_imagenet32, "ImageNet at 32 x 32, either published version", "path"),
    "folder": Entry(open_folder, "images in folders or an archive, `folder:PATH`", "path"),
    "hf": Entry(open_hugging_face, "a folder of Hugging Face datasets, or of parquet files, `hf:FOLDER`", "path"),
    "wds": Entry(open_shards, "WebDataset shards on disk, `wds:shard-{000..003}.tar`", "path"),
    "arrays": Entry(open_arrays, "samples of any shape from an .npy, .npz or .safetensors file, `arrays:FILE`", "path"),
    "pairs": Entry(open_pairs, "base and data samples from an .npz or .safetensors file, `pairs:FILE`", "path"),
    "transported": Entry(
        transported, "another set paired with noise by optimal transport, `transported:NAME`", "dataset"
    ),
}
"""Every named data set."""

_FACTORIES: Registry[Dataset] = Registry(
    "dataset",
    Dataset,
    {name: entry.open for name, entry in ENTRIES.items()},
    takes=("path", "options..."),
    adapt=as_dataset,
)
NAMES: tuple[str, ...] = tuple(ENTRIES)
"""What `open_dataset` takes as a name, apart from `package.module:factory`."""


def open_dataset(name: str | Dataset, *, path: Path | str | None = None, **options: Any) -> Dataset:
    """The data set of that name; a data set is returned as it is.

    Args:
        name: one of `NAMES`, with its path behind a colon where it is read from files, as in `folder:PATH`; or
            `package.module:factory`, a function that returns a `Dataset`, or a map-style one of torch, of which
            `Indexed` is made.
        path: where the files are, for a set that is read from files, itself or the one that is transported.
        **options: those of the set, such as `flip`.

    Raises:
        ValueError: for an unknown name, a path that is missing or not needed, and files that do not fit.
        TypeError: for an unknown option, a path or an option beside a data set, and a factory that returns something
            else.
        OSError: for files that are not there.
    """
    if not isinstance(name, str | Dataset):
        raise TypeError(f"`dataset` must be the name of a data set or a Dataset, got {type(name).__name__}; pass one.")
    head, _, tail = name.partition(":") if isinstance(name, str) else ("", "", "")
    if head not in ENTRIES:
        return _own(name, {} if path is None else {"path": path}, options)
    entry = ENTRIES[head]
    if tail and (not entry.place or (entry.place == "path" and path is not None)):
        taken = f"`path` given, {path}" if entry.place else "no files"
        raise ValueError(f"`dataset` must be {head!r} alone with {taken}, got {name!r}; leave out {':' + tail!r}.")
    if path is not None and not entry.place:
        raise ValueError(f"`path` must be None for {head}, which is read from no file, got {path}; leave it out.")
    check_options(options, options_of(entry.open), head)
    if entry.place == "dataset":
        return entry.open(_inner(tail, path), **options)
    return entry.open(tail or path, **options) if entry.place else entry.open(**options)


def _inner(name: str, path: Path | str | None) -> Dataset:
    """The set that is transported, with the place of its files; without a name the path is the name."""
    if name:
        return open_dataset(name, path=path)
    if path is None:
        raise ValueError("`dataset` must say what is transported, got 'transported' alone; write transported:digits.")
    return open_dataset(str(path))


def _own(name: str | Dataset, place: dict[str, Path | str], options: dict[str, Any]) -> Dataset:
    """A set of the user's own: an object, one to import, or what a factory to import returns."""
    if isinstance(name, str) and ":" in name:
        head, _, tail = name.partition(":")
        try:
            found = load(name, "dataset")
        except ValueError as error:
            raise ValueError(str(error).rstrip(".") + meant(head, ENTRIES).replace("'?", f":{tail}'?")) from error
        found = as_dataset(found)
        name = found if isinstance(found, Dataset) else name
    if isinstance(name, Dataset):
        return _FACTORIES.make(name, options={**place, **options})
    return _FACTORIES.make(name, *place.values(), options=options)

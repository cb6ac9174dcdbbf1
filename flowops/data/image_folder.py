"""Any images, of one size or brought to one: a folder or an archive of PNG, JPEG, BMP or WebP files.

Classes and splits are folders: `a.png, b.png, ...` is a set without labels; `cat/a.png, dog/b.png, ...` has the classes
cat and dog, in the order of their names; `train/...` and `test/...` (or `val`, `valid`, `validation`), each of one of
these forms, are its splits. One folder around everything is looked through. Other files, and files and folders with a
dot in front, are passed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from flowops.data.files.decoding import decode, decode_all
from flowops.data.files.fitting import AS_THEY_ARE, Fit
from flowops.data.files.packed import Allocate, Content, packed_once, place
from flowops.data.files.sources import SUFFIXES, Source, open_source
from flowops.data.images import Images, Resident, Split, check_resident, fingerprint

_VALIDATION = ("val", "valid", "validation")
_RESIDENT = 2 << 30  # bytes of all images; more are mapped from a file


@dataclass(frozen=True)
class Layout:
    """Which file is which sample: names by split in the order of the rows, labels by split, names of the classes."""

    names: dict[str, list[str]]
    labels: dict[str, npt.NDArray[np.int64]]
    classes: tuple[str, ...]

    def rows(self) -> dict[str, tuple[str, int]]:
        """The split and the row of each file."""
        return {name: (split, row) for split, names in self.names.items() for row, name in enumerate(names)}

    def summary(self) -> str:
        """How many of what."""
        counts = ", ".join(f"{len(names)} {split}" for split, names in self.names.items())
        return f"{counts} images in {len(self.classes) or 'no'} classes"


def open_folder(
    path: Path | str | None,
    *,
    flip: bool = True,
    channels: int | None = None,
    size: int | None = None,
    resize: str | None = "bicubic",
    crop: str | None = "center",
    alpha: str | None = None,
    depth: int | None = None,
    cache: Path | str | None = None,
    resident: Resident = "auto",
) -> Images:
    """The images at `path`, decoded at once; the same samples whether it is a folder or an archive of it.

    Args:
        path: a folder, or an archive (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip), which is read without unpacking it.
        flip: whether the images of a batch are mirrored at random.
        channels: 1 for grey, 3 for colour, None for what the first image by name is. Grey images become colour with 3.
        size: side of the squares that all images become; without it they must have one size, and are taken as they are.
        resize: the filter with which they do, `box`, `bilinear`, `bicubic` or `lanczos`; none crops only.
        crop: `center` takes the square in the middle; none stretches an image that is none.
        alpha: `white` or `black`, which transparent images are laid over; without it they are refused.
        depth: 8 rounds grey images of 16 bits; without it they are refused.
        cache: folder for the packed arrays of a set beyond 2 GB; if None, `.flowops` in the folder or beside the
            archive. Smaller sets are held in memory.
        resident: whether all images are held on the device that trains, as in `Images`.

    Raises:
        OSError: if there is nothing at `path`.
        ValueError: for anything in it that cannot be read, naming the file.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"`channels` must be 1, 3 or None, got {channels!r}; pass 1 for grey or 3 for colour.")
    check_resident(resident)
    fit = Fit(size, resize, crop, alpha, depth)
    source = open_source(path)
    layout = arrange(source)
    shape = _shape(source, min(layout.rows()), channels, fit)
    name = f"folder:{source.path}"

    def fill(allocate: Allocate) -> Content:
        splits = read(source, layout, shape, allocate, fit)
        told = ", ".join(text for text in (" x ".join(str(length) for length in shape), str(fit)) if text)
        return Content(layout.labels, layout.classes, f"{layout.summary()}, {told}, {fingerprint(splits)}")

    if math.prod(shape) * len(layout.rows()) > _RESIDENT:
        folder, stamp = place(source.path, cache), " ".join([source.stamp(), str(shape), *filter(None, [str(fit)])])
        packed = packed_once(folder, stamp, fill)
        splits, provenance = packed.splits, packed.provenance
    else:
        arrays: dict[str, npt.NDArray[np.uint8]] = {}
        content = fill(lambda split, size: arrays.setdefault(split, np.empty(size, np.uint8)))
        splits, provenance = _splits(arrays, layout), content.provenance
    return Images(
        name, splits, classes=layout.classes, provenance=f"{name}: {provenance}", flips=flip, resident=resident
    )


def arrange(source: Source) -> Layout:
    """The splits and classes of the files of a source.

    Raises:
        ValueError: for a source without images, or with images both in folders and beside them.
    """
    paths = {name: name.split("/") for name in source.names()}
    if not paths:
        raise ValueError(f"`path` must hold images ending in {', '.join(SUFFIXES)}, got none in {source.path}.")
    while len({parts[0] for parts in paths.values()}) == 1 and all(len(parts) > 1 for parts in paths.values()):
        paths = {name: parts[1:] for name, parts in paths.items()}
    names: dict[str, list[str]] = {"train": list(paths)}
    tops = {parts[0] for parts in paths.values() if len(parts) > 1}
    if "train" in tops and tops <= {"train", "test", *_VALIDATION} and all(len(parts) > 1 for parts in paths.values()):
        names = {_split(top, tops): [name for name in paths if paths[name][0] == top] for top in _order(tops)}
        paths = {name: parts[1:] for name, parts in paths.items()}
    flat = [name for name, parts in paths.items() if len(parts) == 1]
    if flat and len(flat) < len(paths):
        raise source.refuse(flat[0], "images in one folder per class, or all in one folder, not both")
    if flat:
        return Layout(names, {}, ())
    classes = tuple(sorted({parts[0] for parts in paths.values()}))
    number = {name: label for label, name in enumerate(classes)}
    labels = {split: np.array([number[paths[n][0]] for n in held], np.int64) for split, held in names.items()}
    return Layout(names, labels, classes)


def read(
    source: Source, layout: Layout, shape: tuple[int, ...], allocate: Allocate, fit: Fit = AS_THEY_ARE
) -> dict[str, Split]:
    """The images of a source, decoded into one array per split."""
    arrays = {split: allocate(split, (len(names), *shape)) for split, names in layout.names.items()}
    rows = layout.rows()
    for name, image in decode_all(source.read(), source.path, shape, shape[0], fit):
        split, row = rows[name]
        arrays[split][row] = image
    return _splits(arrays, layout)


def _splits(arrays: dict[str, npt.NDArray[np.uint8]], layout: Layout) -> dict[str, Split]:
    labels = {split: torch.from_numpy(values) for split, values in layout.labels.items()}
    return {split: Split(torch.from_numpy(array), labels.get(split)) for split, array in arrays.items()}


def _shape(source: Source, name: str, channels: int | None, fit: Fit) -> tuple[int, ...]:
    """The shape of an image of a source."""
    _, content = next(source.read(name))
    return decode(name, content, source.path, None, channels, fit).shape


def _order(tops: set[str]) -> list[str]:
    return ["train", *sorted(tops - {"train"})]


def _split(top: str, tops: set[str]) -> str:
    """The name of the split in the folder `top`: a validation set takes the place of a test set that is not there."""
    return "test" if top in _VALIDATION and len(tops) == 2 else top

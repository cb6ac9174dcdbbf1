"""Large sets of images, packed once into plain arrays in a folder and mapped into memory from there.

The folder holds `<split>.npy` (bytes, `[n, channels, height, width]`), `<split>-labels.npy` where there are labels, and
`manifest.json`, written last, which names what was packed. A set whose files have changed since is packed anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from flowops._files import write_text, written
from flowops.data.files.decoding import Bytes
from flowops.data.images import Split

Allocate = Callable[[str, tuple[int, ...]], Bytes]
"""`(split, shape) -> array`, uninitialized, to be filled."""
Fill = Callable[[Allocate], "Content"]
"""What allocates and fills the array of each split."""
_FORMAT = 1  # of the folder; raised when its meaning changes


@dataclass(frozen=True)
class Content:
    """What fills the arrays tells about them: labels `[n]` by split, class names, and a line on what they are."""

    labels: dict[str, npt.NDArray[np.int64]]
    classes: tuple[str, ...]
    provenance: str


@dataclass(frozen=True, eq=False)
class Packed:
    """Images by split, mapped from files, with their class names and provenance."""

    splits: dict[str, Split]
    classes: tuple[str, ...]
    provenance: str


def place(path: Path, cache: Path | str | None) -> Path:
    """The folder for a set that is read from `path`: `cache` if given, else a hidden one in or beside it."""
    if cache is not None:
        return Path(cache).expanduser()
    return path / ".flowops" if path.is_dir() else path.with_name(f".{path.name}.flowops")


def pack(folder: Path, stamp: str, fill: Fill) -> Packed:
    """Write the folder anew, whole or not at all.

    Raises:
        OSError: if the folder cannot be written to.
    """
    arrays: dict[str, Bytes] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"`cache` must be a folder to write to, got {folder} ({error}); pass cache=... .") from error
    with ExitStack() as files:

        def allocate(split: str, shape: tuple[int, ...]) -> Bytes:
            file = files.enter_context(written(folder / f"{split}.npy"))
            arrays[split] = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
            return arrays[split]

        content = fill(allocate)
        for split, labels in content.labels.items():
            np.save(files.enter_context(written(folder / f"{split}-labels.npy")), labels)
        shapes = {split: list(array.shape) for split, array in arrays.items()}
        arrays.clear()  # which writes what is not yet on the disk
    manifest = {
        "format": _FORMAT,
        "stamp": stamp,
        "shapes": shapes,
        "labelled": sorted(content.labels),
        "classes": content.classes,
        "provenance": content.provenance,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    found = load(folder, stamp)
    if found is None:
        raise OSError(f"`cache` must be a folder of its own, got {folder}, which changed while it was written.")
    return found


def load(folder: Path, stamp: str) -> Packed | None:
    """What the folder holds, if it was packed from files with this stamp and is whole; otherwise None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if (manifest["format"], manifest["stamp"]) != (_FORMAT, stamp):
            return None
        splits = {}
        for split, shape in manifest["shapes"].items():
            # copy-on-write, so that torch may hold it: nothing is ever written
            pixels = np.load(folder / f"{split}.npy", mmap_mode="c", allow_pickle=False)
            labelled = split in manifest["labelled"]
            labels = np.load(folder / f"{split}-labels.npy", allow_pickle=False) if labelled else None
            fits = labels is None or (labels.dtype == np.int64 and labels.shape == pixels.shape[:1])
            if pixels.dtype != np.uint8 or list(pixels.shape) != shape or not fits:
                return None
            splits[split] = Split(torch.from_numpy(pixels), None if labels is None else torch.from_numpy(labels))
        return Packed(splits, tuple(manifest["classes"]), manifest["provenance"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such folder, or no longer what it was
        return None

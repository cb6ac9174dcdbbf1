"""Large sets of images, packed once into plain arrays in a folder and mapped into memory from there.

The folder holds the bytes of each split (`[n, channels, height, width]`) and its labels, where there are any, as .npy
files whose names no other packing has, and `manifest.json`, written last and replaced as a whole, which says what was
packed and names the files. A set whose files have changed since is packed anew.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowops._files import locked, write_text
from flowops.data.files.decoding import Bytes
from flowops.data.images import Split

Allocate = Callable[[str, tuple[int, ...]], Bytes]
"""`(split, shape) -> array`, uninitialized, to be filled."""
Fill = Callable[[Allocate], "Content"]
"""What allocates and fills the array of each split."""
_FORMAT = 2  # of the folder; raised when its meaning changes
_MANIFEST, _LOCK = "manifest.json", "lock"
_ARRAY = re.compile(r".+-([0-9a-f]{32})\.npy")


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


def packed_once(folder: Path, stamp: str, fill: Fill) -> Packed:
    """What the folder holds; packed before, while every other process on this disk waits, if it is not there.

    Raises:
        OSError: if the folder cannot be written to.
    """
    if (found := load(folder, stamp)) is not None:
        return found
    with ExitStack() as lock:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            alone = lock.enter_context(locked(folder / _LOCK))
        except OSError as error:
            raise OSError(
                f"`cache` must be a folder to write to, got {folder} ({error}); pass cache=FOLDER."
            ) from error
        return load(folder, stamp) or _pack(folder, stamp, fill, alone)


def _pack(folder: Path, stamp: str, fill: Fill, alone: bool) -> Packed:
    """Write what the folder holds anew, whole or not at all; `alone` if nobody else writes there."""
    if alone:
        _clear(folder)  # what was being written when a process was killed
    mark, arrays = uuid.uuid4().hex, {}

    def allocate(split: str, shape: tuple[int, ...]) -> Bytes:
        file = folder / f"{split}-{mark}.npy"
        try:
            arrays[split] = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
            _reserve(file)
        except OSError as error:
            raise OSError(
                f"`cache` must be a folder with room for {math.prod(shape):,} bytes, got {folder} ({error}); pass "
                f"cache=FOLDER."
            ) from error
        return arrays[split]

    try:
        content = fill(allocate)
        for split, labels in content.labels.items():
            np.save(folder / f"{split}-labels-{mark}.npy", labels)
        for array in arrays.values():
            array.flush()  # other machines may read it
        manifest = {
            "format": _FORMAT,
            "stamp": stamp,
            "mark": mark,
            "shapes": {split: list(array.shape) for split, array in arrays.items()},
            "labelled": sorted(content.labels),
            "classes": content.classes,
            "provenance": content.provenance,
        }
        found = _mapped(folder, manifest)
        if found is None:
            raise OSError(f"`cache` must be a folder of its own, got {folder}, which changed while it was written.")
        write_text(folder / _MANIFEST, json.dumps(manifest, indent=1))
    except BaseException:
        for file in folder.glob(f"*-{mark}.npy"):
            file.unlink(missing_ok=True)
        raise
    if alone:
        _clear(folder)
    return found


def load(folder: Path, stamp: str) -> Packed | None:
    """What the folder holds, if it was packed from files with this stamp and is whole; otherwise None."""
    manifest = _manifest(folder)
    return None if manifest.get("stamp") != stamp else _mapped(folder, manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says; nothing where there is none that can be read."""
    try:
        found = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == _FORMAT else {}


def _mapped(folder: Path, manifest: dict[str, Any]) -> Packed | None:
    """What the files of a manifest hold, if they are as it says; otherwise None."""
    try:
        mark, splits = manifest["mark"], {}
        for split, shape in manifest["shapes"].items():
            # copy-on-write, so that torch may hold it: nothing is ever written
            pixels = np.load(folder / f"{split}-{mark}.npy", mmap_mode="c", allow_pickle=False)
            labelled = split in manifest["labelled"]
            labels = np.load(folder / f"{split}-labels-{mark}.npy", allow_pickle=False) if labelled else None
            fits = labels is None or (labels.dtype == np.int64 and labels.shape == pixels.shape[:1])
            if pixels.dtype != np.uint8 or list(pixels.shape) != shape or not fits:
                return None
            splits[split] = Split(torch.from_numpy(pixels), None if labels is None else torch.from_numpy(labels))
        return Packed(splits, tuple(manifest["classes"]), manifest["provenance"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such file, or no longer what it was
        return None


def _reserve(file: Path) -> None:
    """Take the room of a new file, where the system can: a full disk is an error here, and ends the process later."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            try:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the disk cannot; the file is as it was
                    raise


def _clear(folder: Path) -> None:
    """Remove the arrays that the manifest does not name; a process that has them mapped keeps them."""
    mark = _manifest(folder).get("mark")
    for file in folder.iterdir():
        if (found := _ARRAY.fullmatch(file.name)) and found[1] != mark:
            file.unlink(missing_ok=True)

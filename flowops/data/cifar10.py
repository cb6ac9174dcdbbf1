"""CIFAR-10 (Krizhevsky 2009) from its own archive, by torchvision, which knows its address and its checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowops._files import locked
from flowops._named import require
from flowops.data.files.paths import check_folder
from flowops.data.images import Images, Split, fingerprint

_FOLDER = "cifar-10-batches-py"


def open_cifar10(path: Path | str | None, *, flip: bool = True, download: bool = False) -> Images:
    """The 50,000 and 10,000 images of CIFAR-10, event `[3, 32, 32]`, ten classes, held in memory (184 MB).

    Args:
        path: the folder that holds `cifar-10-batches-py`, or that folder itself.
        flip: whether the images of a batch are mirrored at random.
        download: fetch the archive (170 MB) into `path` if it is not there; an archive that lies there is unpacked. Of
            several processes one does it while the others wait.

    Raises:
        OSError: if the files are not there, or cannot be fetched.
        ValueError: for a file whose checksum is wrong, naming it.
        ImportError: without torchvision.
    """
    if path is None:
        raise ValueError("`path` must be a folder for CIFAR-10, got none; pass path=PLACE.")
    root = Path(path).expanduser()
    root = root.parent if root.name == _FOLDER else root
    source = require("torchvision.datasets", "images").CIFAR10
    if download and _faulty(root / _FOLDER, source):
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / f".{_FOLDER}.lock"):
                source(root, download=True)  # which looks again whether anything is missing
        except (OSError, RuntimeError) as error:
            raise OSError(f"CIFAR-10 must be fetched from {source.url} into {root}, got {error}; try again.") from error
    elif not download:
        check_folder(root, f"a folder that holds {_FOLDER} (pass download=True to fetch it)")
    check_folder(root / _FOLDER, "the unpacked archive of CIFAR-10 (pass download=True to fetch or unpack it)")
    if file := _faulty(root / _FOLDER, source):  # before anything in it is unpickled
        raise ValueError(
            f"`path` must hold the original files of CIFAR-10, got {file}, which is missing or has another checksum; "
            f"remove it and pass download=True."
        )
    held = {"train": source(root, train=True), "test": source(root, train=False)}
    splits = {
        split: Split(
            torch.from_numpy(np.ascontiguousarray(found.data.transpose(0, 3, 1, 2))),
            torch.tensor(found.targets, dtype=torch.int64),
        )
        for split, found in held.items()
    }
    counts = ", ".join(f"{len(found)} {split}" for split, found in splits.items())
    return Images(
        "cifar10",
        splits,
        classes=tuple(held["train"].classes),
        provenance=f"cifar10: Krizhevsky 2009, original archive, {counts} images, {fingerprint(splits)}",
        flips=flip,
    )


def _faulty(folder: Path, source: Any) -> Path | None:
    """The first file other than those that torchvision's class knows, or None if all are whole."""
    intact = require("torchvision.datasets.utils", "images").check_integrity
    known = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    return next((folder / name for name, md5 in known if not intact(folder / name, md5)), None)

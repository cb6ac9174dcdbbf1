"""The batch files of the box-resized ImageNet-32: a dictionary with `data`, `labels` and `mean`, pickled or as .npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowops.data.files.unpickling import read_pickle

_BATCHES, _COLUMNS, _CLASSES = 10, 3072, 1000
_PATTERNS = ("train_data_batch_*", "*/train_data_batch_*", "val_data*", "*/val_data*")
_FORMS = (".npz", "")  # the first is preferred


def find_batches(folder: Path) -> dict[str, list[Path]]:
    """The files by split, the training batches in the order of their numbers; empty if there is none of them.

    They lie in the folder or in folders in it, as their archives unpack.

    Raises:
        ValueError: if some of the ten training batches are missing, or a batch is there twice.
    """
    files = [file for pattern in _PATTERNS for file in sorted(folder.glob(pattern)) if file.is_file()]
    for form in _FORMS:
        names = [f"train_data_batch_{number}{form}" for number in range(1, _BATCHES + 1)]
        if any(file.name in names for file in files):
            batches = {"train": [_one(folder, files, name) for name in names]}
            if any(file.name == f"val_data{form}" for file in files):
                batches["test"] = [_one(folder, files, f"val_data{form}")]
            return batches
    return {}


def read_labels(file: Path) -> npt.NDArray[np.int64]:
    """The labels of a batch, counted from 0.

    Raises:
        ValueError: unless they are whole numbers from 1 to 1000.
    """
    held = _entry(file, "labels")
    try:
        labels = np.asarray(held)
    except ValueError as error:  # a list that is no array
        raise ValueError(
            f"`path` must hold batches with labels from 1 to {_CLASSES}, got {file}: {error}; fetch it again."
        ) from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(
            f"`path` must hold batches with labels from 1 to {_CLASSES}, got {labels.dtype} of shape "
            f"{list(labels.shape)} in {file}; fetch it again."
        )
    if labels.min() < 1 or labels.max() > _CLASSES:
        raise ValueError(
            f"`path` must hold batches with labels from 1 to {_CLASSES}, got {labels.min()} to {labels.max()} in "
            f"{file}; fetch it again."
        )
    return labels.astype(np.int64) - 1


def read_batch(file: Path, count: int) -> npt.NDArray[np.uint8]:
    """The images of a batch, `[count, 3072]`.

    Raises:
        ValueError: for another shape or dtype.
    """
    data = _entry(file, "data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (count, _COLUMNS):
        found = f"{data.dtype} of shape {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(
            f"`path` must hold batches whose data is uint8 of shape [{count}, {_COLUMNS}], one row per label, got "
            f"{found} in {file}; fetch the files for 32 x 32."
        )
    return data


def _entry(file: Path, name: str) -> Any:
    if file.suffix == ".npz":
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
                return held[name]
        except Exception as error:  # a broken archive raises whatever its parts run into
            raise ValueError(
                f"`path` must hold .npz files with an array {name!r}, got {file}: {error}; fetch it again."
            ) from error
    held = read_pickle(file)
    if not isinstance(held, dict) or name not in held:
        raise ValueError(
            f"`path` must hold batches with an entry {name!r}, got {file}, which has none; fetch it again."
        )
    return held[name]


def _one(folder: Path, files: list[Path], name: str) -> Path:
    found = [file for file in files if file.name == name]
    if len(found) != 1:
        count = "none" if not found else f"{len(found)} of them"
        raise ValueError(f"`path` must hold every batch once, got {count} named {name} in {folder}; fetch or move it.")
    return found[0]

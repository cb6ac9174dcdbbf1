"""Files of plain arrays: NumPy's and safetensors', read without running anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowops._named import require
from flowops.data.files.paths import check_file

SUFFIXES = (".npz", ".safetensors")
SINGLE = ".npy"


def read_arrays(path: Path | str | None, what: str, single: str | None = None) -> tuple[Path, dict[str, Tensor]]:
    """The arrays of a file by name, those of .npy and .safetensors files mapped into memory.

    Args:
        path: an .npz file without pickled objects, or a .safetensors file.
        what: what it should be, for errors.
        single: name for the array of an .npy file; None refuses such files.

    Raises:
        OSError: if there is no such file.
        ValueError: for another format, or a broken file.
    """
    path = check_file(path, what, SUFFIXES if single is None else (SINGLE, *SUFFIXES))
    suffix = path.suffix.lower()
    if suffix == SINGLE and single is not None:
        return path, {single: _npy(path)}
    return path, _npz(path) if suffix == ".npz" else _safetensors(path)


def _npy(path: Path) -> Tensor:
    try:
        # copy-on-write, so that torch may hold it: nothing is ever written
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except Exception as error:  # a broken header raises whatever it is taken for
        raise ValueError(
            f"`path` must be an .npy file of a plain array, got {path}: {error}; write it anew with numpy.save."
        ) from error


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return {name: torch.from_numpy(found[name]) for name in found.files}
    except Exception as error:  # a broken archive raises whatever its parts run into
        raise ValueError(
            f"`path` must be an .npz file of plain arrays, got {path}: {error}; write it anew with numpy.savez."
        ) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = require("safetensors.torch", "train").load_file(path)
    except require("safetensors", "train").SafetensorError as error:
        raise ValueError(
            f"`path` must be a .safetensors file, got {path}: {error}; write it anew with safetensors.torch.save_file."
        ) from error
    return loaded

"""Small files in the formats of the data sets, for the tests."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def pixels(seed: int, height: int = 4, width: int = 5, channels: int = 3) -> Pixels:
    """Random bytes, `[height, width, 3]`, or `[height, width]` for one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: Pixels, form: str = "PNG", **options: Any) -> bytes:
    """The file of an image."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def written_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def written_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """A tar archive with these files, compressed as its suffix says."""
    kind = {".tar": "", ".tgz": "gz", ".txz": "xz"}.get(path.suffix, path.suffix[1:])
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]  # the mode is computed
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def written_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip archive with these files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def planes(array: Pixels) -> Pixels:
    """`[channels, height, width]`, as the data sets hold an image."""
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)

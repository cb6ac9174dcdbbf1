"""Files of images as arrays of one size."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowops._named import require
from flowops.data.files.fitting import AS_THEY_ARE, Fit, advice

Bytes = npt.NDArray[np.uint8]
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # others run programs or read further files
_EXACT = {1: {"L": "L", "1": "L"}, 3: {"RGB": "RGB", "P": "RGB", "L": "RGB", "1": "RGB"}}
_CHUNK, _THREADS = 256, 8


def decode(
    name: str,
    content: bytes,
    origin: Path,
    shape: tuple[int, ...] | None,
    channels: int | None,
    fit: Fit = AS_THEY_ARE,
) -> Bytes:
    """The image of a file, `[channels, height, width]`.

    Args:
        name: name of the file, for errors.
        content: bytes of the file.
        origin: the folder or archive it comes from, for errors.
        shape: that it must have, or None.
        channels: 1 or 3, or None for those of the file. Grey becomes colour where asked for, never the reverse.
        fit: what is done to it first.

    Raises:
        ValueError: for a broken file, another size, or a mode that does not fit into the channels without loss.
    """
    pillow = require("PIL.Image", "images")
    broken = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, pillow.DecompressionBombError)
    try:
        with pillow.open(io.BytesIO(content), formats=_FORMATS) as image:
            found = planes(image, shape, channels, fit)
    except broken as error:
        raise ValueError(
            f"`path` must hold whole {', '.join(_FORMATS)} images, got {name} in {origin}, which cannot be read "
            f"({error}); replace or remove it."
        ) from error
    if isinstance(found, str):
        raise ValueError(f"`path` must hold {found}, at {name} in {origin}; convert it.")
    return found


class Decoder:
    """Pictures of one set, one by one: the first that is decoded says the shape and the channels of all others.

    Args:
        origin: the file or folder they come from, for errors.
        channels: 1 or 3, or None for those of the first.
        fit: what is done to each.
    """

    def __init__(self, origin: Path, channels: int | None, fit: Fit) -> None:
        if channels not in (None, 1, 3):
            raise ValueError(f"`channels` must be 1, 3 or None, got {channels!r}; pass 1 for grey or 3 for colour.")
        self.origin, self.channels, self.fit = origin, channels, fit
        self.shape: tuple[int, ...] | None = None

    def __call__(self, name: str, content: bytes) -> Bytes:
        """The image of a file, as `decode`."""
        image = decode(name, content, self.origin, self.shape, self.channels, self.fit)
        if self.shape is None:
            self.shape, self.channels = image.shape, image.shape[0]
        return image


def planes(image: Any, shape: tuple[int, ...] | None, channels: int | None, fit: Fit = AS_THEY_ARE) -> Bytes | str:
    """The pixels of an opened image, `[channels, height, width]`, or what is wrong with it; arguments of `decode`."""
    mode = fit.mode(image)
    channels = channels or (1 if mode in ("L", "1") else 3)
    if fault := _fault(image, mode, shape, channels, fit):
        return fault
    found = np.asarray(fit.sized(fit.plain(image).convert(_EXACT[channels][mode])))
    return found[None] if channels == 1 else found.transpose(2, 0, 1)


def _fault(image: Any, mode: str, shape: tuple[int, ...] | None, channels: int, fit: Fit) -> str | None:
    """What is wrong with an image, seen before its pixels are read."""
    width, height = image.size
    if shape is not None and fit.size is None and (height, width) != shape[1:]:
        return (
            f"images of one size, {shape[2]} x {shape[1]} as its first (pass size={max(shape[1:])}, say, to resize and "
            f"crop them), got {width} x {height}"
        )
    if fit.too_small(image):
        return f"images of at least {fit.size} x {fit.size} where they are cropped only, got {width} x {height}"
    if mode not in _EXACT[channels]:
        kind = "grey" if channels == 1 else "colour"
        mended = " (pass channels=3 for a mixture)" if mode in _EXACT[3] else advice(mode)
        return f"{kind} images of 8 bits per channel{mended}, got mode {mode}"
    return None


def decode_all(
    files: Iterable[tuple[str, bytes]], origin: Path, shape: tuple[int, ...], channels: int, fit: Fit = AS_THEY_ARE
) -> Iterator[tuple[str, Bytes]]:
    """Every file's name with its image, in order, decoded by a few threads, a bounded number of files ahead.

    Cost: 0.06 ms per JPEG of 32 x 32, mostly outside the decoder: threads help with larger ones only.
    """

    def decoded(chunk: list[tuple[str, bytes]]) -> list[tuple[str, Bytes]]:
        return [(name, decode(name, content, origin, shape, channels, fit)) for name, content in chunk]

    threads = min(_THREADS, os.cpu_count() or 1)
    running: deque[Future[list[tuple[str, Bytes]]]] = deque()
    remaining = iter(files)
    with ThreadPoolExecutor(threads) as pool:
        try:
            while chunk := list(islice(remaining, _CHUNK)):
                running.append(pool.submit(decoded, chunk))
                if len(running) > 2 * threads:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            for future in running:
                future.cancel()

"""Many samples in one `.npz` file, written as they come, in the layout that evaluators of samples read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from torch import Tensor

from flowops._files import written
from flowops.data.images import to_uint8
from flowops.pictures.drawing import is_image

Add = Callable[[int, Tensor, Tensor | None], None]
"""Takes the number of the first of some samples, these, and their labels or None."""


@contextmanager
def open_archive(path: Path | str, n: int, event: Sequence[int], *, pixels: bool = True) -> Iterator[Add]:
    """A file to which samples are added in their order.

    Its array `arr_0` holds images with one or three channels as uint8 `[n, height, width, channels]`, and other samples
    as float32 `[n, *event]`; `arr_1` holds their labels, int64 `[n]`, if there are any. What is added is written at
    once, and the file takes its place when the block succeeds.

    Args:
        path: place of the file.
        n: how many samples will be added.
        event: shape of a sample.
        pixels: whether samples with the shape of images are images in [-1, 1].

    Raises:
        ValueError: for images that are not finite, samples out of order, and if other than `n` of them were added.
    """
    images = pixels and is_image(event)
    shape = (n, *event[1:], event[0]) if images else (n, *event)
    added, labels = 0, list[int]()
    with written(path) as temporary, ZipFile(temporary, "w") as file:
        with file.open("arr_0.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "|u1" if images else "<f4", "fortran_order": False, "shape": shape}
            )

            def add(first: int, x: Tensor, own: Tensor | None) -> None:
                nonlocal added
                if first != added:
                    raise ValueError(f"`first` must be {added}, the number of the next sample, got {first}; add that.")
                rows = to_uint8(x).permute(0, 2, 3, 1) if images else x.float()
                stream.write(rows.contiguous().cpu().numpy().data)
                added += len(x)
                if own is not None:
                    labels.extend(own.tolist())

            yield add
        if added != n:
            raise ValueError(f"`{path}` must hold {n} samples, and {added} were added; add the others.")
        if labels:
            with file.open("arr_1.npy", "w") as stream:
                np.lib.format.write_array(stream, np.array(labels, np.int64))

"""WebDataset shards on disk as a data set with keyed random access: nothing is streamed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from flowops.data.files.decoding import Decoder
from flowops.data.files.fitting import Fit
from flowops.data.files.shards import Index, index_of
from flowops.data.indexed import Indexed

_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp")
_ARRAY = "npy"


def open_shards(
    path: Path | str | None,
    *,
    test: Path | str | None = None,
    sample: str | None = None,
    label: str | None = "cls",
    channels: int | None = None,
    size: int | None = None,
    resize: str | None = "bicubic",
    crop: str | None = "center",
    alpha: str | None = None,
    depth: int | None = None,
    workers: int = 0,
) -> Indexed:
    """The samples of shards: pictures, or float32 arrays of any shape in .npy files, with labels in .cls files.

    The shards are indexed once, at opening, by the places of the files in them. A step then reads its rows wherever
    they lie, so that the order is that of every finite set and a run is resumed exactly. Files of other suffixes are
    passed over, and those that hold Python objects are never read.

    Args:
        path: `shard-{000..003}.tar`, `shards/*.tar`: uncompressed archives.
        test: likewise those of the split "test".
        sample: suffix of the files of samples; by default jpg, jpeg, png, webp, bmp or npy.
        label: suffix of those of labels, whole numbers from 0; none leaves them out.
        channels: 1 for grey, 3 for colour, None for what the first picture is.
        size: side of the squares that all pictures become, and with it `resize` and `crop`; as for folders.
        resize: the filter, or none.
        crop: center, or none.
        alpha: white or black, which transparent pictures are laid over.
        depth: 8 rounds grey pictures of 16 bits.
        workers: processes that read and decode ahead of time; a thread does if there are none.

    Raises:
        OSError: if there is nothing at `path`.
        ValueError: for shards that are damaged, compressed or empty, and labels that some samples lack.
    """
    fit = Fit(size, resize, crop, alpha, depth)
    suffixes = (*_PICTURES, _ARRAY) if sample is None else (sample.lower().removeprefix("."),)
    wanted = None if label is None else label.lower().removeprefix(".")
    held = {"train": path, **({} if test is None else {"test": test})}
    found = {split: index_of(pattern, suffixes, wanted) for split, pattern in held.items()}
    first = found["train"]
    decoder = None if first.suffix == _ARRAY else Decoder(first.shards[0].parent, channels, fit)
    rows = {split: _Rows(index, decoder) for split, index in found.items()}
    numbers = [index.labels for index in found.values() if index.labels is not None]
    if numbers and len(numbers) < len(found):
        raise ValueError(
            "`test` must have labels where `path` has, and none where it has none; label both, or neither."
        )
    about = ", ".join(filter(None, [f"{sum(len(index.shards) for index in found.values())} shards", str(fit)]))
    return Indexed(
        rows["train"],
        test=rows.get("test"),
        name=f"wds:{path}",
        sample="x1",
        classes=1 + max(int(values.max()) for values in numbers) if numbers else None,
        random=False,
        workers=workers,
        about=about,
    )


class _Rows:
    """Samples by number."""

    def __init__(self, index: Index, decoder: Decoder | None) -> None:
        self.index, self.decoder = index, decoder

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> dict[str, Any]:
        name, content = self.index.read(row)
        labels = self.index.labels
        told = {} if labels is None else {"label": int(labels[row])}
        if self.decoder is not None:
            shard = self.index.shards[int(self.index.places[row, 0])]
            return {"x1": self.decoder(f"{shard.name}, {name}", content), **told}
        try:
            return {"x1": np.load(io.BytesIO(content), allow_pickle=False), **told}
        except (ValueError, OSError, EOFError) as error:
            shard = self.index.shards[int(self.index.places[row, 0])]
            raise ValueError(
                f"`path` must hold plain arrays in .npy files, got {name} in {shard}: {error}; write it anew."
            ) from error

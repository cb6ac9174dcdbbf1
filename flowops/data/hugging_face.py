"""Data sets in the format of Hugging Face's `datasets` on disk, and folders of parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flowops._named import meant, require
from flowops.data.files.decoding import Decoder
from flowops.data.files.fitting import Fit
from flowops.data.files.packed import place
from flowops.data.files.paths import check_folder
from flowops.data.indexed import Indexed
from flowops.data.items import LABELS, SAMPLES

_TESTS = ("test", "validation", "valid", "val")


def open_hugging_face(
    path: Path | str | None,
    *,
    sample: str | None = None,
    label: str | None = "auto",
    split: str = "train",
    test: str | None = None,
    channels: int | None = None,
    size: int | None = None,
    resize: str | None = "bicubic",
    crop: str | None = "center",
    alpha: str | None = None,
    depth: int | None = None,
    cache: Path | str | None = None,
    workers: int = 0,
) -> Indexed:
    """The rows of a folder that `save_to_disk` wrote, or of the parquet files in a folder, read where they lie.

    Args:
        path: the folder. Parquet files belong to the split that their name begins with, as in `test-00000-of-00001`,
            and to "train" where none does.
        sample: column of the samples, pictures or numbers of any fixed shape, which become float32; by default the
            first that there is of x1, image, img, pixel_values and x.
        label: column of the labels; auto for label or labels, if there is one; none leaves them out.
        split: split to train on.
        test: split for the split "test"; by default test, validation, valid or val, whichever there is.
        channels: 1 for grey, 3 for colour, None for what the first picture is.
        size: side of the squares that all pictures become, and with it `resize` and `crop`; as for folders.
        resize: the filter, or none.
        crop: center, or none.
        alpha: white or black, which transparent pictures are laid over.
        depth: 8 rounds grey pictures of 16 bits.
        cache: where parquet files are unpacked to, once; if None, `.flowops` in the folder.
        workers: processes that read and decode ahead of time; a thread does if there are none.

    Raises:
        OSError: if there is nothing at `path`.
        ValueError: for a folder of something else, unknown columns and splits, and rows without a label.
        ImportError: without the package datasets.
    """
    fit = Fit(size, resize, crop, alpha, depth)
    folder = check_folder(path, "a folder of a data set written by save_to_disk, or of parquet files")
    splits = _opened(folder, cache)
    if split not in splits:
        raise ValueError(f"`split` must be one of {', '.join(splits)}, got {split!r} in {folder}{meant(split, splits)}")
    if test is None:
        test = next((name for name in _TESTS if name in splits and name != split), None)
    elif test not in splits:
        raise ValueError(f"`test` must be one of {', '.join(splits)}, got {test!r} in {folder}; choose one of them.")
    held = {"train": splits[split], **({} if test is None else {"test": splits[test]})}
    features = held["train"].features
    column = _column(sample, SAMPLES, features, "sample", folder)
    labelled = label if label != "auto" else next((name for name in LABELS if name in features), None)
    labelled = None if labelled is None else _column(labelled, LABELS, features, "label", folder)
    pictures = type(features[column]).__name__ == "Image"
    decoder = Decoder(folder, channels, fit) if pictures else None
    rows = {name: _Rows(found, column, labelled, decoder, folder) for name, found in held.items()}
    told = f"columns {column}{'' if labelled is None else f', {labelled}'}"
    return Indexed(
        rows["train"],
        test=rows.get("test"),
        name=f"hf:{folder}",
        sample="x1",
        classes=_classes(features, labelled, rows),
        random=False,
        workers=workers,
        about=", ".join(filter(None, [told, str(fit)])),
    )


class _Rows:
    """Rows as samples: pictures decoded here, numbers as float32, labels read at once."""

    def __init__(self, found: Any, column: str, label: str | None, decoder: Decoder | None, folder: Path) -> None:
        self.decoder, self.labels = decoder, None if label is None else _labels(found, label, folder)
        kept = found.select_columns([column])
        if decoder is not None:
            kept = kept.cast_column(column, require("datasets", "datasets").Image(decode=False)).with_format(None)
        self.column, self.rows, self.folder = column, kept, folder

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        value = self.rows[row][self.column]
        if value is None:
            raise ValueError(
                f"`path` must hold a sample in every row, got none in row {row} of {self.column} in {self.folder}."
            )
        x = self._numbers(value, row) if self.decoder is None else self._picture(value, row)
        return {"x1": x} if self.labels is None else {"x1": x, "label": int(self.labels[row])}

    def _picture(self, value: Mapping[str, Any], row: int) -> Any:
        assert self.decoder is not None
        content = value["bytes"]
        if content is None:
            content = Path(str(value["path"])).read_bytes()
        return self.decoder(f"row {row} of {self.column}", content)

    def _numbers(self, value: Any, row: int) -> Any:
        try:
            return np.array(value, np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`path` must hold numbers of one shape in {self.column}, got row {row} in {self.folder}: {error}; "
                f"pass sample=COLUMN, or make them alike."
            ) from error


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """No progress bars, which belong to downloads and conversions."""
    shown = not library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bars()


def _opened(folder: Path, cache: Path | str | None) -> dict[str, Any]:
    """The splits of a folder."""
    library = require("datasets", "datasets")
    files: dict[str, list[str]] = {}
    if not any((folder / name).exists() for name in ("state.json", "dataset_dict.json")):
        for file in sorted(folder.rglob("*.parquet")):
            known = (name for name in _TESTS if file.name.startswith((f"{name}-", f"{name}.")))
            split = next(known, "train")
            files.setdefault(split, []).append(str(file))
        if not files:
            raise ValueError(
                f"`path` must be a folder written by save_to_disk, or of parquet files, got {folder} with neither; "
                f"save the data set there."
            )
    try:
        with _quiet(library):
            if files:
                where = str(place(folder, cache) / "datasets")
                return dict(library.load_dataset("parquet", data_files=files, cache_dir=where))
            found = library.load_from_disk(str(folder))
    except Exception as error:  # whatever a damaged file runs into
        told = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"`path` must be a whole folder of save_to_disk or of parquet files, got {folder}: {told}; save it again."
        ) from error
    return dict(found) if isinstance(found, Mapping) else {"train": found}


def _column(name: str | None, known: tuple[str, ...], features: Mapping[str, Any], what: str, folder: Path) -> str:
    chosen = next((column for column in ((name,) if name else known) if column in features), None)
    if chosen is None:
        raise ValueError(
            f"`{what}` must be a column of {folder}, which has {', '.join(features)}, got {name or 'none given'}; pass "
            f"{what}=NAME."
        )
    return str(chosen)


def _labels(found: Any, label: str, folder: Path) -> Any:
    values = found.select_columns([label]).with_format("arrow")[:].column(label)
    if values.null_count:
        raise ValueError(
            f"`label` must have a value in every row, got none in {values.null_count} of {len(values)} rows of {label} "
            f"in {folder}; label all, or pass label=none."
        )
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu" or (len(numbers) and int(numbers.min()) < 0):
        raise ValueError(
            f"`label` must hold whole numbers from 0, got {values.type} in {label} in {folder}; number the classes, or "
            f"pass label=none."
        )
    return numbers


def _classes(features: Mapping[str, Any], label: str | None, rows: Mapping[str, _Rows]) -> int | tuple[str, ...] | None:
    if label is None:
        return None
    names = getattr(features[label], "names", None)
    held = [found.labels for found in rows.values() if found.labels is not None and len(found.labels)]
    return tuple(names) if names else 1 + max(int(labels.max()) for labels in held)

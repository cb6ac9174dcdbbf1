"""What a run measures, step by step, as tables that anything can read.

A resumed run repeats the steps after its checkpoint, so their old rows are cut before the first new one is written.
"""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Self

from flowops._files import write_text


class MetricsLog:
    """A CSV file with the columns step and `columns`, one row for each write; a context manager.

    Args:
        path: place of the file; its folder is created.
        columns: names of the values.
        resume_step: the step from which a run goes on, whose later rows are cut; None replaces a file that is there.
        grows: how the names of further columns begin, which are added when they first have a value; and a file that is
            resumed may lack the last of `columns`, as one of before they were measured. None for neither.

    Raises:
        ValueError: for unsuitable columns, and for a file that is resumed and has others, or is no such table.
    """

    def __init__(
        self, path: Path | str, columns: Sequence[str], resume_step: int | None, *, grows: str | None = None
    ) -> None:
        _check_names(columns)
        self._path, self._columns, self._grows = Path(path), tuple(columns), grows
        if resume_step is None or not self._path.exists():
            write_text(self._path, ",".join(("step", *columns)) + "\n")
        else:
            if grows is not None:
                self._columns = self._joined(columns, grows)
            cut_table(self._path, ("step", *self._columns), resume_step)
        self._file = self._path.open("ab", buffering=0)

    def write(self, step: int, values: Mapping[str, float | int]) -> None:
        """Append a row; it is in the file when this returns. A column without a value stays empty.

        Raises:
            ValueError: for a value without a column.
            OSError: if the disk does not take it; then nothing of it is in the file.
        """
        unknown = [name for name in values if name not in self._columns]
        if unknown and self._grows is not None and all(name.startswith(self._grows) for name in unknown):
            self._grow(unknown)
        elif unknown:
            raise ValueError(f"`values` must have names among {list(self._columns)}, got {unknown}; drop them.")
        cells = [repr(float(values[name])) if name in values else "" for name in self._columns]
        append(self._file, ",".join([str(step), *cells]) + "\n")

    def _grow(self, names: Sequence[str]) -> None:
        """Add columns, which are empty in the rows that there are."""
        _check_names(columns := (*self._columns, *names))
        widen_table(self._path, ("step", *columns))
        self._file.close()
        self._file, self._columns = self._path.open("ab", buffering=0), columns

    def _joined(self, columns: Sequence[str], grows: str) -> tuple[str, ...]:
        """The columns of a file that is there, with those that it lacks; `columns` if it is another table."""
        with self._path.open(encoding="utf-8", errors="replace") as file:
            found = file.readline().rstrip("\n").split(",")
        first = [name for name in found[1:] if not name.startswith(grows)]
        joined = (*columns, *(name for name in found[1:] if name.startswith(grows)))
        if found[0] == "step" and first == list(columns[: len(first)]) and found[1:] != list(joined):
            widen_table(self._path, ("step", *joined))
        return joined

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def append(file: FileIO, text: str) -> None:
    """Add text to an unbuffered file, all of it or nothing.

    Raises:
        OSError: if the disk does not take it.
    """
    line, place = text.encode(), file.seek(0, os.SEEK_END)
    try:
        if (taken := file.write(line)) != len(line):
            raise OSError(errno.ENOSPC, f"only {taken} of {len(line)} bytes were written", file.name)
    except OSError:
        file.truncate(place)
        raise


def _check_names(columns: Sequence[str]) -> None:
    """Refuse names of columns that a table cannot have."""
    if len({"step", *columns}) != len(columns) + 1 or any(set(name) & set(',"\r\n') for name in columns):
        raise ValueError(f"`columns` must be different plain names other than step, got {list(columns)}.")


def widen_table(path: Path, header: Sequence[str]) -> None:
    """Give a CSV file the columns `header`, among which its own are; new ones are empty. Atomic."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    lines, torn = lines[:-1], lines[-1]
    found = lines[0].split(",")
    wide = [",".join(header)]
    for line in lines[1:]:
        cells = line.split(",")
        held = dict(zip(found, cells, strict=False))
        # a line that is no row stays as it is, for `cut_table` to name it
        wide.append(",".join(held.get(name, "") for name in header) if len(cells) == len(found) else line)
    write_text(path, "\n".join([*wide, torn]))


def cut_table(path: Path, header: Sequence[str], last: int) -> None:
    """Drop the rows of a CSV file beyond step `last`, the first column, and a last line that was not finished; atomic.

    Raises:
        ValueError: for another header, and for a line that is no row.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")[:-1]  # after the last newline: nothing, or a torn line
    first = ",".join(header)
    if lines and lines[0] != first:
        raise ValueError(
            f"{path} must have the columns {first} to be continued, got {lines[0][:200]!r}; move it away, or choose "
            f"another folder for the run."
        )
    kept = [first]
    for line_number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if len(cells) != len(header) or not cells[0].isdecimal():
            raise ValueError(
                f"{path} must hold {len(header)} values in each row to be continued, and line {line_number} does not; "
                f"mend the line, or move the file away."
            )
        if int(cells[0]) <= last:
            kept.append(line)
    write_text(path, "\n".join(kept) + "\n")


def last_value(path: Path, column: str) -> float | None:
    """The last entry of a column of a table; None without a table or an entry."""
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        entries = [row[column] for row in csv.DictReader(file) if row.get(column)]
    return float(entries[-1]) if entries else None

"""The table of a run: what is written, what a resumed run cuts, and what is refused."""

from __future__ import annotations

import csv
import errno
import math
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from flowops.runs.tables import MetricsLog, append, cut_table, last_value

COLUMNS = ("loss", "rate")


def write(path: Path, steps: range, resume_step: int | None = None) -> None:
    with MetricsLog(path, COLUMNS, resume_step) as log:
        for step in steps:
            log.write(step, {"loss": 1 / step, "rate": 1e-3})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_number_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "run" / "metrics.csv", range(1, 4))
    rows = read(tmp_path / "run" / "metrics.csv")
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert list(rows[0]) == ["step", *COLUMNS]


def test_a_row_is_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.csv", COLUMNS, None)
    log.write(5, {"loss": math.nan})
    assert (tmp_path / "m.csv").read_text() == "step,loss,rate\n5,nan,\n"
    log.close()


def test_a_resumed_table_is_that_of_a_run_that_was_not_interrupted(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    write(whole, range(1, 10))
    write(cut, range(1, 7))
    with cut.open("a") as file:
        file.write("7,0.12")  # killed in the middle of a row
    write(cut, range(5, 10), resume_step=4)
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("content", [None, "", "step,lo"])
def test_a_table_that_was_hardly_begun_is_begun_again(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "m.csv"
    if content is not None:
        path.write_text(content)
    write(path, range(1, 3), resume_step=0)
    assert [row["step"] for row in read(path)] == ["1", "2"]


class Full(FileIO):
    """A file on a disk with room for so many bytes more."""

    room = 0

    def write(self, data: Any) -> int:
        """As much as there is room for, and an error without any."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = super().write(data[: self.room])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 1, 5])
def test_a_full_disk_takes_a_row_or_nothing(tmp_path: Path, room: int) -> None:
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n1,2.0\n")
    with Full(path, "ab") as file:
        file.room = room
        with pytest.raises(OSError, match="No space left|bytes were written"):
            append(file, "2,3.0\n")
        assert path.read_text() == "step,loss\n1,2.0\n"
        file.room = 100  # there is room again
        append(file, "3,4.0\n")
    assert path.read_text() == "step,loss\n1,2.0\n3,4.0\n"


def test_a_new_run_replaces_the_table(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", range(1, 9))
    write(tmp_path / "m.csv", range(1, 2))
    assert len(read(tmp_path / "m.csv")) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("step,loss\n1,2\n", "must have the columns step,loss,rate to be continued, got 'step,loss'"),
        ("step,loss,rate\n1,2,3\nfoo\n4,5,6\n", "must hold 3 values in each row to be continued, and line 3 does not"),
        ("step,loss,rate\nx,2,3\n", "and line 2 does not"),
    ],
)
def test_a_foreign_table_is_refused_and_left_alone(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        MetricsLog(path, COLUMNS, 1)
    assert path.read_text() == content


def test_unsuitable_columns_and_values_are_refused(tmp_path: Path) -> None:
    for columns in (("loss", "loss"), ("step",), ("a,b",), ("a\nb",)):
        with pytest.raises(ValueError, match="`columns` must be different plain names other than step"):
            MetricsLog(tmp_path / "m.csv", columns, None)
    with (
        MetricsLog(tmp_path / "m.csv", COLUMNS, None) as log,
        pytest.raises(ValueError, match=r"`values` must have names among \['loss', 'rate'\], got \['lss'\]"),
    ):
        log.write(1, {"lss": 1.0})


def test_rows_behind_a_step_and_a_torn_line_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n1,0.5\n2,0.4\n3,0.3\n4,0.")
    cut_table(path, ("step", "loss"), 2)
    assert path.read_text() == "step,loss\n1,0.5\n2,0.4\n"


@pytest.mark.parametrize(
    ("content", "found"), [("step,loss,rate\n1,0.5,1\n2,0.25,\n3,,1\n", 0.25), ("step,loss\n", None), (None, None)]
)
def test_the_last_entry_of_a_column_is_found(tmp_path: Path, content: str | None, found: float | None) -> None:
    if content is not None:
        (tmp_path / "m.csv").write_text(content)
    assert last_value(tmp_path / "m.csv", "loss") == found

"""A report appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowops.evaluation.report import prepared


@pytest.mark.parametrize("there", [False, True])
def test_files_appear_when_all_of_them_are_written(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "a" / "check"
    if there:
        out.mkdir(parents=True)
        (out / "mine.txt").write_text("mine")
        (out / "report.html").write_text("old")
    with prepared(out) as folder:
        (folder / "report.html").write_text("new")
        assert (out / "report.html").exists() == there
    assert (out / "report.html").read_text() == "new"
    assert sorted(file.name for file in out.iterdir()) == ["mine.txt", "report.html"] if there else ["report.html"]
    assert [file.name for file in out.parent.iterdir()] == ["check"]


@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_left_by_work_that_fails(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "check"
    if there:
        out.mkdir()

    def work() -> None:
        with prepared(out) as folder:
            (folder / "report.html").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.rglob("*")) == ([out] if there else [])


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for out in (file, file / "below"):
        with pytest.raises(OSError, match="`out` must be a folder"), prepared(out):
            pytest.fail("the work began")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions say nothing to this user")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="can be written"), prepared(tmp_path / "check"):
            pytest.fail("the work began")
    finally:
        tmp_path.chmod(0o700)

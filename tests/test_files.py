"""Files are whole or not there; a missing package is named with the extra that brings it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowops._extras import require
from flowops._files import write_text, written


def test_a_finished_file_takes_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "first")
    write_text(tmp_path / "new" / "a.txt", "second")
    assert (tmp_path / "new" / "a.txt").read_text() == "second"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    def fail() -> None:
        with written(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    write_text(tmp_path / "a.txt", "whole")
    with pytest.raises(OSError, match="No space left"):
        fail()
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_temporary_file_keeps_the_suffix(tmp_path: Path) -> None:
    with written(tmp_path / "a.tar.gz") as temporary:
        assert temporary.suffix == ".gz"
        temporary.touch()


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(ImportError, match=r"`nosuchpackage` .* pip install 'flowops\[train\]'"):
        require("nosuchpackage.inner", "train")


def test_a_package_that_is_broken_inside_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenpackage.py").write_text("import nosuchpackage")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nosuchpackage") as caught:
        require("brokenpackage", "train")
    assert "flowops[" not in str(caught.value)

"""Files are whole or not there, and their digests are those of their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from flowops._files import digest, write_text, written


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


def test_a_digest_is_that_of_the_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    for algorithm in ("sha256", "md5"):
        assert digest(tmp_path / "a", algorithm) == hashlib.new(algorithm, content).hexdigest()
    (tmp_path / "a").write_bytes(content[:-1])
    assert digest(tmp_path / "a", "md5") != hashlib.md5(content).hexdigest()

"""Files are whole or not there, and their digests are those of their content."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from flowops._files import digest, locked, write_text, written


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


def test_temporary_names_are_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)  # as in containers that share a disk
    with written(tmp_path / "a.txt") as one, written(tmp_path / "a.txt") as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert (tmp_path / "a.txt").read_text() == "one"


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        with locked(tmp_path / "lock") as held:
            assert held
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == ([1], [0])


def test_a_disk_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.__enter__", none)
    with locked(tmp_path / "lock") as held:
        assert not held


def test_a_digest_is_that_of_the_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    for algorithm in ("sha256", "md5"):
        assert digest(tmp_path / "a", algorithm) == hashlib.new(algorithm, content).hexdigest()
    (tmp_path / "a").write_bytes(content[:-1])
    assert digest(tmp_path / "a", "md5") != hashlib.md5(content).hexdigest()

"""The lock of a run's folder: one run at a time, whatever became of the one before."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowops.runs import Locked
from flowops.runs.folder import LOCK, locked
from tests.programs import ROOT


def test_a_second_run_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    with locked(folder, pytest.fail):
        with pytest.raises(Locked, match=rf"{folder} is held by process {os.getpid()} on {platform.node()}") as caught:
            locked(folder, pytest.fail).__enter__()
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, OSError)
        (folder / "file").touch()
    assert sorted(path.name for path in folder.iterdir()) == ["file"]
    with locked(folder, pytest.fail):
        pass


def test_a_new_folder_in_which_nothing_was_written_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), locked(tmp_path / "run", pytest.fail):
        raise ValueError("refused")
    assert not (tmp_path / "run").exists()
    with locked(tmp_path, pytest.fail):
        pass
    assert tmp_path.is_dir()


def test_what_a_process_left_behind_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("process 1 on elsewhere\n")
    with locked(tmp_path, pytest.fail):
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_where_there_are_no_locks_that_is_said_and_the_run_goes_on(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path, told.append), locked(tmp_path, told.append):
        pass
    assert told == [f"{tmp_path} cannot be locked: see to it that no other run writes there."] * 2


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        locked(tmp_path / "file" / "run", pytest.fail).__enter__()


@pytest.mark.slow
def test_the_lock_of_another_process_ends_with_it(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from flowops.runs.folder import locked
folder = Path({str(tmp_path)!r})
with locked(folder, print):
    (folder / "held").touch()
    time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not (tmp_path / "held").exists():
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(Locked, match=f"is held by process {process.pid} on"):
        locked(tmp_path, pytest.fail).__enter__()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked(tmp_path, pytest.fail):
        pass

"""Signals: what ends a run early, and that none of them stops a checkpoint that is being written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowops.runs.checkpoint import load_checkpoint
from flowops.runs.folder import candidates
from flowops.runs.processes import Interruption
from tests.programs import ROOT

PATIENCE = 600.0  # seconds; the machine may be busy


@pytest.mark.parametrize("number", Interruption.SIGNALS)
def test_a_signal_is_noted_and_so_are_the_next_ones(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.noted is None
        for _ in range(2):
            os.kill(os.getpid(), number)
            assert interruption.noted == number.name
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.noted == number.name  # the one that ended the run
    assert signal.getsignal(number) is before


def test_the_second_ctrl_c_says_what_the_third_one_does(capfd: pytest.CaptureFixture[str]) -> None:
    with Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err == ""
        os.kill(os.getpid(), signal.SIGINT)
        said = capfd.readouterr().err
        assert said == "The step and its checkpoint are being finished; Ctrl-C once more ends at once, without them.\n"
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_handlers_come_back_without_a_signal() -> None:
    before = [signal.getsignal(number) for number in Interruption.SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in Interruption.SIGNALS] != before
    assert [signal.getsignal(number) for number in Interruption.SIGNALS] == before


PROGRAM = """
import time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from flowops.cli import main
from flowops.runs import saving

plain = saving.write_manifest

def slow(folder, step, *rest):
    if step > 2:
        Path("saving").touch()
        while not Path("go").exists():
            time.sleep(0.01)
    plain(folder, step, *rest)

saving.write_manifest = slow
network = "--network mlp --network.options width=8 depth=1 octaves=1 --batch 8 --averages 0.9"
words = f"train checkerboard {network} --steps 90 --checkpoint-every 2 --log.no-progress --log.no-tensorboard --out run"
raise SystemExit(main(words.split()))
"""


def saving(folder: Path) -> subprocess.Popen[str]:
    """A run in a process of its own, that waits in the middle of its second checkpoint."""
    (folder / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while not (folder / "saving").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_further_signals_do_not_stop_the_checkpoint_that_is_written(tmp_path: Path, number: signal.Signals) -> None:
    process = saving(tmp_path)
    for sent in (number, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
        process.send_signal(sent)
        time.sleep(0.1)
    assert process.poll() is None
    (tmp_path / "go").touch()
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 128 + number, said
    assert said == "Interrupted after step 4 of 90; go on with --resume and --out run.\n"
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "4").step == 4


@pytest.mark.slow
def test_the_third_ctrl_c_ends_a_run_at_once_with_its_older_checkpoints(tmp_path: Path) -> None:
    process = saving(tmp_path)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "flowops: interrupted."
    checkpoints = tmp_path / "run" / "checkpoints"
    assert list(candidates(checkpoints)) == [2]
    assert load_checkpoint(checkpoints / "2").step == 2
    assert sorted(path.name for path in checkpoints.parent.glob(".*")) == []

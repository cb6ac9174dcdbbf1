"""Runs in processes of their own: signals, sudden ends, several at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from flowops.cli import main
from flowops.runs.checkpoint import load_checkpoint
from tests.cli.commands import BOARD, DIGITS
from tests.programs import ROOT

PATIENCE = 1800.0  # seconds; the machine may be busy


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`flowops train` in the background, its output in files of the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "flowops.cli", "train", *words],
            env=environment, stdout=out, stderr=err, text=True, cwd=folder,
        )  # fmt: skip


def wait_for(folder: Path, name: str, process: subprocess.Popen[str], lines: int = 0) -> None:
    """Wait until a file in the folder is there and has so many lines, as long as the process lives."""
    end, path = time.monotonic() + PATIENCE, folder / name
    while not path.exists() or (lines and path.read_text().count("\n") < lines):
        assert process.poll() is None, (folder / "err.txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)


def parameters(folder: Path, step: int) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(folder / "checkpoints" / str(step))
    averages = {f"{name}.{key}": x for name, held in checkpoint.averages.items() for key, x in held.items()}
    return {**checkpoint.weights, **averages}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_a_checkpoint_and_one_line(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start(
        tmp_path, *DIGITS, "--steps", "1000000", "--checkpoint-every", "0", "--log.every", "1", "--out", "run"
    )
    wait_for(tmp_path, "run/metrics.csv", process, lines=2)  # a step is done
    process.send_signal(number)
    assert process.wait(PATIENCE) == code
    said = (tmp_path / "err.txt").read_text()
    assert said.startswith("Interrupted after step ")
    assert said.endswith("go on with --resume and --out run.\n")
    assert said.count("\n") == 1
    assert (tmp_path / "out.txt").read_text() == ""
    step = int(said.split()[3])
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / str(step)).step == step


@pytest.mark.slow
def test_a_killed_run_that_goes_on_has_the_parameters_of_one_that_was_not(tmp_path: Path) -> None:
    words = (*DIGITS, "--optimizer.schedule", "constant", "--checkpoint-every", "4")  # a rate that knows no end
    assert main(["train", *words, "--steps", "12", "--out", str(tmp_path / "whole")]) == 0
    # the run that is killed would go on for long; its length may change when it is resumed
    killed = start(tmp_path, *words, "--steps", "1000000", "--out", "cut", "--log.keep=2")
    wait_for(tmp_path, "cut/checkpoints/4", killed)
    killed.kill()
    assert killed.wait(PATIENCE) == -signal.SIGKILL
    for step in sorted(int(path.name) for path in (tmp_path / "cut" / "checkpoints").iterdir()):
        assert step < 12, "the run was killed too late to go on; it must be stopped earlier"
    resumed = start(tmp_path, "--resume", "--out", "cut", "--steps", "12")
    assert resumed.wait(PATIENCE) == 0, (tmp_path / "err.txt").read_text()
    assert "Going on from step" in (tmp_path / "err.txt").read_text()
    wanted, found = parameters(tmp_path / "whole", 12), parameters(tmp_path / "cut", 12)
    assert wanted.keys() == found.keys()
    assert not [name for name in wanted if not torch.equal(wanted[name], found[name])]


@pytest.mark.slow
@pytest.mark.dist
def test_of_two_processes_one_speaks(tmp_path: Path) -> None:
    words = ("--steps", "2", "--hardware.devices", "2", "--hardware.accelerator", "cpu", "--hardware.strategy", "ddp")
    process = start(tmp_path, *BOARD, *words, "--out", "run")
    assert process.wait(PATIENCE) == 0, (tmp_path / "err.txt").read_text()
    assert (tmp_path / "out.txt").read_text().count("run: step 2 of 2") == 1
    refused = start(tmp_path, *BOARD, *words, "--out", "run")
    assert refused.wait(PATIENCE) == 1
    assert (tmp_path / "err.txt").read_text().count("--out must be a new folder") == 1

"""How many processes there are, and that none waits for one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowops.training import HardwareConfig
from flowops.training.processes import launched, started, together
from tests.programs import ROOT

VARIABLES = (
    *("TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "WORLD_SIZE"),
    *("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES"),
)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "16", "SLURM_NNODES": "2"}, (8, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, None),
        ({"WORLD_SIZE": "8"}, None),
    ],
)
def test_processes_that_were_started_are_counted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: tuple[int, int] | None
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started() == found


def test_the_work_of_one_process_is_returned_and_its_fault_raised() -> None:
    fabric = launched(HardwareConfig("cpu"))
    assert together(fabric, lambda: 3) == 3

    def fail() -> int:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        together(fabric, fail)


@pytest.mark.dist
def test_torchrun_decides_how_many_processes_there_are(tmp_path: Path) -> None:
    words = (
        *("train", "checkerboard", "--steps", "2", "--batch", "8", "--network.width", "4", "--no-audit"),
        *("--hardware.accelerator", "cpu", "--out", str(tmp_path / "run"), "--log.no-tensorboard"),
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flowops.cli")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *words], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"processes": 2' in (tmp_path / "run" / "run.json").read_text()
    assert done.stdout.count("step 2 of 2") == 1

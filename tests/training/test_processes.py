"""The processes of a run: how many there are, that none waits for one that is gone, and what ends them early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flowops.methods import MethodResult
from flowops.runs import HardwareConfig
from flowops.training.processes import FiniteSteps, Interrupted, launched, started, together
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


def test_the_message_says_how_to_go_on() -> None:
    text = "Interrupted after step 3 of 10; go on with resume=True and out=runs/a."
    assert str(Interrupted(3, 10, Path("runs/a"), "SIGINT")) == text
    assert str(Interrupted(3, 0, Path("runs/a"), "SIGINT")) == text.replace(" of 10", "")


def test_only_steps_in_a_row_exhaust_the_patience() -> None:
    steps = FiniteSteps(patience=2)
    for finite in (False, True, False):
        steps.note(torch.tensor(finite))
    assert (steps.read(), steps.exhausted) == ((2, 1), False)
    steps.note(torch.tensor(False))
    assert (steps.read(), steps.exhausted) == ((3, 2), True)
    steps.note(torch.tensor(True))
    assert (steps.read(), steps.exhausted) == ((3, 0), False)
    steps.restore(7, 1)
    steps.note(torch.tensor(False))
    assert steps.read() == (8, 2)


def test_the_explanation_names_term_times_and_seed() -> None:
    steps = FiniteSteps(patience=1)
    steps.note(torch.tensor(False))
    per_sample = torch.tensor([1.0, float("nan")])
    s, t = torch.tensor([0.1, 0.25]), torch.tensor([0.2, 0.75])
    result = MethodResult(
        per_sample.mean(), {}, per_sample, s, t, per_term={"lagrangian": per_sample}, seed=torch.tensor(1234)
    )
    text = steps.explain(7, [result])
    for part in ("step 7", "'lagrangian'", "(0.25, 0.75)", "seed=1234", "checkpoint is kept"):
        assert part in text


def test_a_finite_loss_with_another_gradient_is_told_as_such() -> None:
    steps = FiniteSteps(patience=1)
    steps.note(torch.tensor(False))
    values = torch.ones(2)
    result = MethodResult(
        values.mean(), {}, values, values, values, per_term={"diagonal": values}, seed=torch.tensor(1)
    )
    assert "The loss is finite, its gradient is not." in steps.explain(7, [result])


@pytest.mark.slow
@pytest.mark.dist
def test_torchrun_decides_how_many_processes_there_are(tmp_path: Path) -> None:
    words = (
        *("train", "checkerboard", "--steps", "2", "--batch", "8", "--network", "mlp", "--network.options", "width=4"),
        *("--hardware.accelerator", "cpu", "--out", str(tmp_path / "run"), "--log.no-tensorboard"),
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flowops.cli")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *words], env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"processes": 2' in (tmp_path / "run" / "run.json").read_text()
    assert done.stdout.count("step 2 of 2") == 1

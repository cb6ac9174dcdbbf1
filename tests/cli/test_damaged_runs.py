"""Commands that read a run whose newest checkpoint is damaged: they take the one before, and say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Console

COMMANDS = {
    "sample": ("--steps", 1, "--n", 2),
    "export": (),
    "evaluate": ("--steps", 1, "--n", 128, "--solver", "euler", "--solver-steps", 1),
}


@pytest.mark.parametrize("command", ["sample", "evaluate", pytest.param("export", marks=pytest.mark.slow)])
def test_a_damaged_average_of_the_newest_is_told_in_one_line(
    flowops: Console, tmp_path: Path, digits_run: Path, command: str
) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    (run / "checkpoints" / "6" / "ema-0.9.safetensors").write_bytes(b"")
    said = flowops(command, run, *COMMANDS[command])
    assert said.code == 0, said.err
    told = [line for line in said.err.splitlines() if line.startswith("Checkpoint 6 is not used: ")]
    assert len(told) == 1
    assert "ema-0.9.safetensors must have" in told[0]

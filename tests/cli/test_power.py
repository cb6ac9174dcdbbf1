"""Averages of another width from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from flowops.runs.checkpoint import load_weights
from tests.cli.commands import Console


def test_the_width_of_training_comes_back(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    """Where the wanted profile is one of those that were saved, the fit is exact."""
    out = tmp_path / "w.safetensors"
    said = flowops("power", digits_run, "--width", 0.1, "--step", 4, "--out", out)
    assert said.code == 0
    assert said.out.startswith(f"{out}: width 0.1 at step 4, from 6 averages\n")
    _, wanted = load_weights(digits_run / "checkpoints", 4, "power-0.1")
    found = load_file(out)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"width": "0.1", "step": "4", "snapshots": "6"}


def test_the_weights_can_be_sampled_as_it_says(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    said = flowops("power", digits_run, "--width", 0.07)
    command = re.search(r"flowops (sample .*)", said.out)
    assert command is not None
    assert flowops(*command[1].split(), "--n", 4, "--steps", 1, "--out", tmp_path / "x.png").code == 0
    (digits_run / "power-0.07.safetensors").unlink()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--width", "0.5"), "`sigma_rel` must be above 0 and at most 0.2887"),
        (("--width", "0.1", "--step", "9"), "--step must be at least 1 and at most 6, the last snapshot, got 9"),
        (("--width", "0.1", "--out", "w.pt"), "--out must end in .safetensors, got w.pt"),
    ],
)
def test_bad_requests_are_one_sentence(
    flowops: Console, digits_run: Path, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in flowops("power", digits_run, *words).error


def test_a_run_without_such_averages_says_how_to_get_them(flowops: Console, board_run: Path) -> None:
    assert "train with --power 0.05 0.1" in flowops("power", board_run, "--width", 0.1).error

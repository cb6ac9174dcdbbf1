"""Averages of another width from the command line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from flowops.runs.checkpoint import load_weights
from tests.cli.commands import BOARD, Console


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


@pytest.mark.parametrize("lost", ["averages", "checkpoints"])
def test_they_come_from_what_is_kept_apart_and_in_older_runs_from_the_checkpoints(
    flowops: Console, tmp_path: Path, digits_run: Path, lost: str
) -> None:
    run, found = shutil.copytree(digits_run, tmp_path / "run"), []
    shutil.rmtree(run / lost)
    for folder in (digits_run, run):
        out = tmp_path / f"{folder.name}.safetensors"
        said = flowops("power", folder, "--width", 0.07, "--out", out)
        assert "width 0.07 at step 6, from 6 averages" in said.out
        assert said.err == ""
        found.append(load_file(out))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_those_of_every_checkpoint_are_kept_though_the_checkpoints_are_not(flowops: Console, tmp_path: Path) -> None:
    words = (*BOARD, "--steps", 6, "--checkpoint-every", 2, "--power", 0.1, "--log.keep", 1, "--out", tmp_path / "run")
    assert flowops("train", *words).code == 0
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["6"]
    assert "from 3 averages" in flowops("power", tmp_path / "run", "--width", 0.1).out


def test_a_damaged_one_is_left_out_and_said(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    for folder in ("averages", "checkpoints"):
        (run / folder / "4" / "ema-power-0.1.safetensors").write_bytes(b"")
    said = flowops("power", run, "--width", 0.07)
    assert "from 5 averages" in said.out
    assert [line.split(": ")[0] for line in said.err.splitlines()] == ["An average of step 4 is not used"] * 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--width", "0.5"), "--width must be above 0 and at most 0.2887"),
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

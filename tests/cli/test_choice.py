"""Where a command computes, and as what."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from flowops.cli import choice
from flowops.cli.choice import RunChoice, Sampling, load


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_first_device_that_is_there(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", lambda _, *, device: SimpleNamespace(device=torch.device(device)))
        found = choice._device("auto")
    assert found.type == wanted


def test_it_is_what_commands_take_unless_told(board_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_device", lambda name: torch.device("cpu" if name == "auto" else name))
    assert load(RunChoice(str(board_run))).device.type == "cpu"
    assert load(RunChoice(str(board_run), device="meta")).device.type == "meta"


def test_precision_and_compilation_are_those_of_a_run_that_is_sampled(board_run: Path) -> None:
    run = load(Sampling(str(board_run), device="cpu", precision="bf16", compile=True))
    assert (run.precision, run.compiled) == ("bf16", True)
    plain = load(Sampling(str(board_run), device="cpu"))
    assert (plain.precision, plain.compiled) == ("32", False)

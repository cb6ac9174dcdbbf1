"""Two tiny runs, trained once from the command line, and a console."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from flowops.cli import main
from tests.cli.commands import BOARD, DIGITS, Console


@pytest.fixture
def flowops(capsys: pytest.CaptureFixture[str]) -> Console:
    """Runs a command line and catches what it says."""
    return Console(capsys)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained in this process draws none and does not count its operations, most of the time of a few steps."""
    monkeypatch.setattr("flowops.training.record.save_comparison", lambda *_: None)
    monkeypatch.setattr("flowops.training.record.POINTS", 4)
    monkeypatch.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits with labels and power-function averages, six steps; tests must not change it."""
    return _trained(
        tmp_path_factory, *DIGITS, "--steps", "6", "--checkpoint-every", "2", "--power", "0.05", "0.1"
    )  # fmt: skip


@pytest.fixture(scope="session")
def board_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the checkerboard, without labels, five steps; tests must not change it."""
    return _trained(tmp_path_factory, *BOARD, "--steps", "5")


def _trained(factory: pytest.TempPathFactory, *words: str) -> Path:
    out = factory.mktemp("runs") / words[0]
    with warnings.catch_warnings():
        assert main(["train", *words, "--out", str(out)]) == 0
    return out

"""What the library says to a reader in the shell: its names are flags there, and stay Python elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowops.cli.console import in_shell, speak
from flowops.cli.parsing import Flag, parse
from flowops.runs import RunFolder
from tests.cli.commands import Console

FLAGS = {"resume": "--resume", "out": "--out", "steps": "--steps", "power": "--power", "label": "--class",
         "optimizer.rate": "--optimizer.rate", "run": "RUN"}  # fmt: skip


@pytest.fixture
def _shell() -> Iterator[None]:
    speak(FLAGS)
    yield
    speak({})


@pytest.mark.usefixtures("_shell")
@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("`steps` must be 1; pass steps=4.", "--steps must be 1; pass --steps 4."),
        ("go on with resume=True and out=runs/a.", "go on with --resume and --out runs/a."),
        ("`label` must be a class", "--class must be a class"),
        ("lower `optimizer.rate`, or", "lower --optimizer.rate, or"),
        ("train with power=(0.05, 0.1).", "train with --power 0.05 0.1."),
        ("`run` must be a folder", "RUN must be a folder"),
        ("pass teacher=b, or `seed`", "pass teacher=b, or `seed`"),  # these are no flags of the command
        ("`/tmp/run` must be a folder", "`/tmp/run` must be a folder"),
        ("got stop_gradient=True and 'x'", "got stop_gradient=True and 'x'"),
        ("a sentence without names", "a sentence without names"),
    ],
)
def test_names_and_values_are_flags(python: str, shell: str) -> None:
    assert in_shell(python) == shell


def test_without_a_command_nothing_changes() -> None:
    speak({})
    assert in_shell("`steps` must be 1; pass resume=True.") == "`steps` must be 1; pass resume=True."


@dataclass(frozen=True)
class Ship:
    """A ship.

    Attributes:
        name: of the ship.
        masts: how many.
    """

    name: str
    masts: int = 3


def test_the_flags_are_those_of_the_command_that_runs() -> None:
    flags = {"name": Flag(positional=True), "masts": Flag(name="poles")}
    parse(Ship, ["Argo"], "ship", flags=flags, also={"sails": "--canvas"})
    try:
        assert in_shell("`name`, `masts`, `sails` and masts=2") == "NAME, --poles, --canvas and --poles 2"
    finally:
        speak({})


def test_one_sentence_has_two_readers(flowops: Console, board_run: Path) -> None:
    """A folder that is taken: Python is told of an argument, the shell of a flag."""
    with pytest.raises(FileExistsError, match="pass resume=True to go on with that run"):
        RunFolder(board_run).check(resume=False)
    said = flowops("train", "checkerboard", "--out", board_run).error
    assert said.startswith("--out must be a new folder")
    assert "pass --resume to go on with that run" in said
    assert "resume=True" not in said
    # what one command says leaves nothing behind for the next
    assert "--out" not in flowops("methods", "lds").error
    with pytest.raises(FileExistsError, match="pass resume=True to go on with that run"):
        RunFolder(board_run).check(resume=False)

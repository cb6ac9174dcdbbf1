"""Command lines run in this process, and the words of tiny runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowops.cli import main

TINY = ("--batch", "8", "--averages", "0.9", "--log.no-tensorboard", "--log.no-progress")
PERCEPTRON = ("--network", "mlp", "--network.options", "width=8", "depth=2", "octaves=1")
UNET = ("--network", "unet", "--network.options", "channels=4", "multipliers=1,", "blocks=1", "attention=,")
BOARD = ("checkerboard", *PERCEPTRON, *TINY)
DIGITS = ("digits", *UNET, "--network.parameterization", "average-velocity", *TINY)


@dataclass(frozen=True)
class Said:
    """What a command line did: its exit code, its results, and what it said beside them."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error."""
        assert self.code == 1, self
        assert self.out == "", self.out
        assert self.err.startswith("flowops: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("flowops: ").strip()


class Console:
    """Runs command lines."""

    def __init__(self, capsys: Any) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Said:
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *self._capsys.readouterr())

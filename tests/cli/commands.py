"""Command lines run in this process, and the words of a tiny run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowops.cli import main

TINY = (
    *("--network.channels", "4", "--network.multipliers", "1", "--network.blocks", "1", "--network.attention"),
    *("--network.width", "8", "--network.depth", "2", "--network.octaves", "1"),
    *("--batch", "8", "--averages", "0.9", "--no-audit", "--log.no-tensorboard", "--log.no-progress"),
)


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

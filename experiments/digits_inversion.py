"""Handwritten digits to noise and back, by a map that was trained at both orders of the times.

    python -m experiments.digits_inversion --out runs/square

is `flowops train digits --options "law=FullSquare()"`, and `flowops invert` on 16 held-out digits: the errors of one to
eight steps beside dopri5, edits to every class and interpolations, under `inversion/` of the run. Every flag of
`flowops train` changes a setting; an interrupted run goes on with `--resume`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments._recipes import STEPS, configured, status
from flowops.cli import main
from flowops.cli.console import to_stderr
from flowops.training import TrainConfig, train

CONFIG = TrainConfig("digits", method="lsd", options=("law=FullSquare()",), out="runs/digits_inversion")
PICTURES = 16
SHOWN = ("--steps", "4", "--solver", "dopri5")  # the ways of the picture, of which the table has more


def invert(words: Sequence[str] | None = None) -> None:
    """Train, then write both folders."""
    config, resume = configured(CONFIG, "digits_inversion", words)
    run = train(config, resume=resume, report=to_stderr)
    place = run.folder.path
    common = ("invert", str(place), "--n", str(PICTURES))
    every = ("--steps", *map(str, STEPS), "--solver", "dopri5", "--all-classes", "--interpolate")
    for given in ((*every, "--out", str(place / "inversion")), (*SHOWN, "--out", str(place / "inversion" / "shown"))):
        if main([*common, *given]):
            raise RuntimeError(f"flowops {' '.join([*common, *given])} failed; see above.")


if __name__ == "__main__":
    sys.exit(status(invert, "digits_inversion"))

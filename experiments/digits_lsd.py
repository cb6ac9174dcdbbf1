"""Handwritten digits in one and two steps, learned in about two minutes on a CPU by Lagrangian self-distillation.

    python -m experiments.digits_lsd --out runs/demo

is `flowops train digits`, whose settings are those that the data set suggests, and `flowops evaluate` in one: it writes
`evaluation.md` (distance to the data by number of steps, beside solvers of the map's own field, and the residuals of
the map) and `samples.png` into `--out`. Every flag of `flowops train` changes a setting; an interrupted run goes on
with `--resume`.
"""

from __future__ import annotations

import sys

from experiments._recipes import recipe
from flowops.training import TrainConfig

CONFIG = TrainConfig("digits", method="lsd", out="runs/digits_lsd")

if __name__ == "__main__":
    sys.exit(recipe(CONFIG, "digits_lsd", n=1_000, solver_steps=8))

"""Handwritten digits in one and two steps, learned in about two minutes on a CPU by Lagrangian self-distillation.

    python -m experiments.digits_lsd --out runs/demo

trains, and writes `evaluation.md` (distance to the data by number of steps, beside solvers of the map's own field, and
the residuals of the map) and `samples.png` into `--out`. Every flag of `flowops train` changes a setting; an
interrupted run goes on with `--resume`.
"""

from __future__ import annotations

import sys

from experiments._recipes import recipe
from flowops.training import LogConfig, NetworkConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    "digits",
    method="lsd",
    steps=2_000,
    batch=256,
    network=NetworkConfig(kind="mlp", width=512, depth=4, octaves=0),
    optimizer=OptimizerConfig(rate=1e-3, schedule="cosine"),
    averages=(0.995, 0.999),
    checkpoint_every=500,
    log=LogConfig(telemetry_every=500),
    out="runs/digits_lsd",
)

if __name__ == "__main__":
    sys.exit(recipe(CONFIG, "digits_lsd", n=1_000, solver_steps=8))

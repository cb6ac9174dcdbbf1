"""CIFAR-10 by easy consistency tuning of EDM's weights, as its authors' code has it.

python -m experiments.recipes.edm_weights FILE --data PATH
python -m experiments.recipes.cifar10_ect --data PATH
"""

from __future__ import annotations

import sys
from dataclasses import replace

from experiments.recipes._edm import SHARED, network
from experiments.recipes._recipe import Recipe, Stage, go
from flowops.training import OptimizerConfig, TrainConfig

OPTIMIZER = OptimizerConfig("radam", rate=1e-4, schedule="constant", beta2=0.999, clip=0.0)
MIDDLE = 0.6156
"""The time of sigma = 0.821 on the clock `edm`."""
LAW = "law=Shrinking(LogNoise(-1.1, 2.0), q={q}, k=8.0, b=1.0, steps_per_stage={length}, stages={stages})"
CONFIG = TrainConfig(
    **SHARED,
    method="ect",
    options=("paper=true", LAW.format(q=2.0, length="{length}", stages=8)),
    interpolant="edm",
    steps=200_000,  # 25.6 M images
    batch=128,
    network=network(dropout=0.2),
    optimizer=OPTIMIZER,
    averages=(0.9999,),
    out="runs/cifar10_ect",
)
RECIPE = Recipe(
    name="cifar10_ect",
    source="2406.14548; run_ecm.sh, ct_train.py, loss.py and the README of locuslab/ect",
    stages=(Stage("ect", CONFIG, passes=4.0, init="edm", lengths={"length": 25_000}),),
    figures={1: 3.86, 2: 2.15},
    protocol="FID of 50,000 samples of the average 0.9999 after 200,000 steps; two steps put noise back at sigma = "
    f"0.821, `flowops sample RUN --grid FILE --gamma 1` with [0, {MIDDLE}, 1] in the file",
    unlike=("noise levels above 80, three in a thousand, are taken as 80",),
    weights=True,
)


def tuned(q: float, **changed: object) -> TrainConfig:
    """The settings with one stage, all of whose steps are of the distance that `q` says."""
    options = ("paper=true", LAW.format(q=q, length=10**9, stages=1))
    return replace(CONFIG, options=options, **changed)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(go(RECIPE))

"""CIFAR-10 by consistency mid-training: EDM's trajectories regressed on, then easy consistency tuning from there.

python -m experiments.recipes.edm_weights FILE --data PATH
python -m experiments.recipes.cifar10_cmt --data PATH                 # with the extra that LPIPS wants
"""

from __future__ import annotations

import sys
from dataclasses import replace

from experiments.recipes import cifar10_ect
from experiments.recipes._edm import SHARED, network
from experiments.recipes._recipe import Recipe, Stage, go
from flowops.training import TrainConfig

FALLING = replace(cifar10_ect.OPTIMIZER, schedule="linear")
MID = TrainConfig(
    **SHARED,
    method="cmt",
    options=("paper=true", "norm=lpips", "law=Trajectory(17, law=EndpointFixed())"),
    interpolant="edm",
    steps=300_000,  # 38.4 M states
    batch=8,  # trajectories, of sixteen states each
    network=network(dropout=0.2),
    optimizer=replace(FALLING, rate=2e-4),
    averages=(0.999,),
    out="runs/cifar10_cmt/mid",
)
POST = cifar10_ect.tuned(4096.0, steps=100_000, optimizer=FALLING)
RECIPE = Recipe(
    name="cifar10_cmt",
    source="2509.24526; run_cmt_cifar.sh, run_cmt+ecm_cifar.sh, loss.py and the README of sony/cmt",
    # of the sixteen states of a solve each costs one call of the teacher beside its own 1 + 2
    stages=(
        Stage("mid", MID, passes=4.0, init="edm", teacher="edm"),
        Stage("post", POST, passes=4.0, init="mid"),
    ),
    figures={1: 2.74, 2: 1.97},
    protocol="FID of 50,000 samples of the average 0.9999 of the second stage; two steps put noise back at sigma = "
    "0.821",
    unlike=("noise levels above 80, three in a thousand, are taken as 80",),
    weights=True,
)

if __name__ == "__main__":
    sys.exit(go(RECIPE))

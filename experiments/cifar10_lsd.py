r"""CIFAR-10 by Lagrangian self-distillation under the protocol of its paper (2505.18825 G.2).

    python -m experiments.cifar10_lsd --data PATH                                   # the official archive
    python -m experiments.cifar10_lsd folder:PATH --hardware.devices 4              # pictures in folders, four devices

Every flag of `flowops train` changes a setting. The paper trains 400,000 steps and reports an FID of 8.10 / 4.37 /
3.34 / 3.33 / 3.57 in 1 / 2 / 4 / 8 / 16 steps. The table written here has distances between pixels: `flowops evaluate
RUN --features inception` computes the FID where the weights are at hand.
"""

from __future__ import annotations

import sys

from experiments._recipes import recipe
from flowops.training import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig, TrainConfig

NETWORK = NetworkConfig(
    "unet",
    channels=128,
    multipliers=(2, 2, 2),
    blocks=4,
    attention=(16,),
    heads_width=64,
    dropout=0.13,
    magnitude_preserving=True,
)
CONFIG = TrainConfig(
    "cifar10",
    method="lsd",
    options=("eta=0.75", "weight=learned"),
    labels=False,
    steps=400_000,
    batch=512,
    network=NETWORK,
    optimizer=OptimizerConfig(kind="radam", rate=1e-2, schedule="inverse-sqrt", decay_start=35_000, clip=1.0),
    hardware=HardwareConfig(precision="bf16"),
    averages=(0.9999, 0.999),
    checkpoint_every=5_000,
    log=LogConfig(sample_every=5_000, keep=3),
    out="runs/cifar10_lsd",
)

if __name__ == "__main__":
    sys.exit(recipe(CONFIG, "cifar10_lsd", n=10_000))

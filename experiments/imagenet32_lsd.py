"""ImageNet-32 by Lagrangian self-distillation, conditioned on the class, with guidance distilled into the map.

    python -m experiments.imagenet32_lsd --data PATH --hardware.devices 8

reads the official batches of either published version. The scale of classifier-free guidance is drawn from [1, 4] per
sample and given to the network (2505.18825 F.5), so that one call samples any class at any scale:

    flowops sample runs/imagenet32_lsd --class 207 --guidance 2 --steps 1 2 4
"""

from __future__ import annotations

import sys
from dataclasses import replace

from experiments._recipes import recipe
from experiments.recipes.cifar10_lsd import CONFIG as CIFAR10
from flowops.training import HardwareConfig, NetworkConfig

CONFIG = replace(
    CIFAR10,
    dataset="imagenet32",
    options=("eta=0.75", "dropout=diagonal", "weight=learned", "guidance=1,4"),
    data_options=(),
    labels=True,
    label_dropout=0.1,
    batch=1_024,
    network=NetworkConfig(
        "unet",
        channels=192,
        multipliers=(1, 2, 2),
        blocks=3,
        attention=(16, 8),
        dropout=0.1,
        magnitude_preserving=True,
        forced_normalization=True,
        parameterization="average-velocity",
        parameterization_options=("sigma_data=0.5",),
    ),
    hardware=HardwareConfig(precision="bf16"),
    out="runs/imagenet32_lsd",
)

if __name__ == "__main__":
    sys.exit(recipe(CONFIG, "imagenet32_lsd", n=10_000, guidance=1.5))

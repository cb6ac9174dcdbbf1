"""What the recipes share that start from EDM's weights: its network, its noise levels as a clock, preconditioning."""

from __future__ import annotations

from typing import Any

from flowops.training import LogConfig, NetworkConfig, TrainConfig

SIGMA = "(80**(1/7)+t*(0.002**(1/7)-80**(1/7)))**7"
"""The noise level of the interpolant `edm`."""
TRIGFLOW = ("sin(pi*(1-t)/2)/2", "sin(pi*t/2)")
"""The coefficients of TrigFlow for data of deviation 0.5."""


def network(noise_level: str = SIGMA, **options: Any) -> NetworkConfig:
    """EDM's DDPM++ with its preconditioning."""
    return NetworkConfig("ddpmpp", {"noise_level": noise_level, **options}, "edm", {"sigma_data": 0.5})


SHARED: dict[str, Any] = {
    "dataset": "cifar10",
    "data_options": ("flip=false",),
    "labels": False,
    "checkpoint_every": 5_000,
    "log": LogConfig(sample_every=5_000, keep=3),
}
WEIGHTS = TrainConfig(
    **SHARED, method="fm", interpolant="edm", network=network(), options=("law=Diagonal(LogNoise(-1.2, 1.2))",),
    steps=1, averages=(0.9999,), batch=512,
)  # fmt: skip
"""The settings under which EDM's weights lie in a folder; nothing trains them."""

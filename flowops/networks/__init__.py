"""Networks of two times and a state: what a `LearnedMap` learns, and the weight its loss learns beside it."""

from torch import nn

from flowops._named import Registry
from flowops.networks.audit import Audit, Finding, audit
from flowops.networks.ddpmpp import DDPMpp, load_edm
from flowops.networks.diagonal import load_diagonal
from flowops.networks.dit import DiT
from flowops.networks.dit_weights import load_dit
from flowops.networks.mlp import MLP
from flowops.networks.one_time import OneTime, TwoTime
from flowops.networks.unet import UNet
from flowops.networks.weight import LearnedWeight, PositionalWeight

NETWORKS: Registry[nn.Module] = Registry(
    "network",
    nn.Module,
    {
        "mlp": MLP,
        "unet": UNet,
        "ddpmpp": DDPMpp,
        "dit": DiT,
    },
    passed=(
        *("event", "labels", "condition", "guidance", "interval", "log_det", "auxiliary", "one_time", "generator"),
    ),
    takes=("event", "classes"),
)
"""By name, each made from the shape of an event."""

__all__ = [
    "NETWORKS",
    "MLP",
    "DDPMpp",
    "Audit",
    "DiT",
    "Finding",
    "LearnedWeight",
    "OneTime",
    "PositionalWeight",
    "TwoTime",
    "UNet",
    "audit",
    "load_diagonal",
    "load_dit",
    "load_edm",
]

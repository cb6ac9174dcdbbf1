"""Networks of two times and a state: what a `LearnedMap` learns, and the weight its loss learns beside it."""

from flowops.networks.audit import Audit, Finding, audit
from flowops.networks.diagonal import load_diagonal
from flowops.networks.mlp import MLP
from flowops.networks.unet import UNet
from flowops.networks.weight import LearnedWeight

__all__ = ["MLP", "Audit", "Finding", "LearnedWeight", "UNet", "audit", "load_diagonal"]

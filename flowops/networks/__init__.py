"""Networks of two times and a state: what a `LearnedMap` learns, and the weight its loss learns beside it."""

from flowops.networks.mlp import MLP
from flowops.networks.weight import LearnedWeight

__all__ = ["MLP", "LearnedWeight"]

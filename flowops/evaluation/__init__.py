"""How good the samples of a run are, what they cost, and how far its map is from a flow."""

from flowops.evaluation.evaluation import Evaluation, SamplerScores, evaluate
from flowops.evaluation.periodic import Best, Periodic
from flowops.evaluation.residual_sizes import ResidualSizes, residual_sizes

__all__ = ["Best", "Evaluation", "Periodic", "ResidualSizes", "SamplerScores", "evaluate", "residual_sizes"]

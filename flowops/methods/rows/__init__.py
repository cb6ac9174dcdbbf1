# isort: skip_file
"""The methods of the literature, one row each, by family; the order here is that of the table."""

from flowops.methods.rows import matching
from flowops.methods.rows import distillation
from flowops.methods.rows import finite_steps
from flowops.methods.rows import consistency
from flowops.methods.rows import anchored
from flowops.methods.rows import moments
from flowops.methods.rows import self_distillation
from flowops.methods.rows import mean_velocity
from flowops.methods.rows import joint

FAMILIES = (
    *(matching, distillation, finite_steps, consistency, anchored, moments),
    *(self_distillation, mean_velocity, joint),
)

__all__ = [
    "FAMILIES",
    "anchored",
    "consistency",
    "distillation",
    "finite_steps",
    "joint",
    "matching",
    "mean_velocity",
    "moments",
    "self_distillation",
]

"""Reference problems: ODEs of which the field, often the flow, and the law are known exactly."""

from flowops.problems.checkerboard import checkerboard
from flowops.problems.empirical import empirical
from flowops.problems.gaussian import gaussian
from flowops.problems.linear import linear
from flowops.problems.logistic import logistic
from flowops.problems.mixture import gaussian_mixture
from flowops.problems.pendulum import pendulum
from flowops.problems.problem import Problem
from flowops.problems.reference import REFERENCE
from flowops.problems.rotation import rotation
from flowops.problems.time_dependent import time_dependent_scalar

__all__ = [
    "REFERENCE",
    "Problem",
    "checkerboard",
    "empirical",
    "gaussian",
    "gaussian_mixture",
    "linear",
    "logistic",
    "pendulum",
    "rotation",
    "time_dependent_scalar",
]

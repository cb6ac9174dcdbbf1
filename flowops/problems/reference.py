"""The reference problems by name: every theory check runs over them, and a distillation may learn from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from flowops.interpolants import Interpolant
from flowops.problems.checkerboard import checkerboard
from flowops.problems.empirical import empirical
from flowops.problems.gaussian import gaussian
from flowops.problems.linear import linear
from flowops.problems.logistic import logistic
from flowops.problems.mixture import gaussian_mixture
from flowops.problems.pendulum import pendulum
from flowops.problems.problem import Problem
from flowops.problems.rotation import rotation
from flowops.problems.time_dependent import time_dependent_scalar

AnyProblem = Problem[Any, Any]


def _linear(_: Interpolant) -> AnyProblem:
    return linear(torch.tensor([[0.2, -1.0, 0.0], [0.7, -0.4, 0.5], [0.0, 0.3, 0.1]], dtype=torch.float64))


def gaussian_parameters() -> tuple[Tensor, Tensor]:
    """The mean and the full covariance of the Gaussian target."""
    factor = torch.tensor([[0.8, 0.0], [0.5, 0.4]], dtype=torch.float64)
    return torch.tensor([1.0, -0.5], dtype=torch.float64), factor @ factor.T


def _gaussian(I: Interpolant) -> AnyProblem:
    return gaussian(*gaussian_parameters(), I)


def _mixture(I: Interpolant) -> AnyProblem:
    """Three modes, one of them with a full covariance."""
    covariances = torch.stack([0.3 * torch.eye(2, dtype=torch.float64)] * 2 + [gaussian_parameters()[1]])
    return gaussian_mixture([0.2, 0.5, 0.3], [[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]], covariances, I)


def _empirical(I: Interpolant) -> AnyProblem:
    points = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    return empirical(points, I)


REFERENCE: Mapping[str, Callable[[Interpolant], AnyProblem]] = MappingProxyType(
    {
        # given by their ODE alone
        "linear": _linear,
        "rotation": lambda _: rotation(2.0),
        "logistic": lambda _: logistic(1.5),
        "time-dependent": lambda _: time_dependent_scalar(),
        "pendulum": lambda _: pendulum(1.2),
        # given by a target, under any interpolant
        "gaussian": _gaussian,
        "mixture": _mixture,
        "checkerboard": checkerboard,
        "empirical": _empirical,
    }
)
"""Each made for an interpolant, which the problems that are given by their ODE alone do not look at."""

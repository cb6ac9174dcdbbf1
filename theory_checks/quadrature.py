"""Rules of integration: over [0, 1], over the real line by panels, and over normal laws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Rule = tuple[Tensor, Tensor]
"""Points and weights."""


def unit(n: int) -> Rule:
    """Gauss-Legendre points `[n]` on [0, 1], and weights of sum one."""
    points, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(n))
    return (points + 1) / 2, weights / 2


def panels(radius: float, number: int = 160, nodes: int = 12) -> Rule:
    """Points and weights of Gauss-Legendre rules on equal panels over [-radius, radius]."""
    points, weights = unit(nodes)
    width = 2 * radius / number
    starts = torch.linspace(-radius, radius, number + 1, dtype=torch.float64)[:-1, None]
    return (starts + width * points).flatten(), (width * weights).repeat(number)


def standard_normal(n: int, dimension: int = 1) -> Rule:
    r"""Gauss-Hermite points of $N(0,I_d)$, `[n^d, d]`, and weights of sum one: exact up to degree $2n-1$ in each."""
    points, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(n))
    return power((points, weights / weights.sum()), dimension)


def power(rule: Rule, dimension: int) -> Rule:
    """The product of a rule with itself, points `[n^d, d]`."""
    points, weights = (grid(dimension * [each]) for each in rule)
    return points, weights.prod(1)


def grid(axes: Sequence[Tensor]) -> Tensor:
    """Every tuple of their entries, a row each; of one axis too."""
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))

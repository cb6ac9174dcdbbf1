r"""The exact maps that every training method runs over: random samples, or the nodes of a quadrature.

* Samples: a linear system, a planar Gaussian pair under four schedules, a planar mixture through a `SolutionOperator`.
  The states of the linear system come from the linear interpolant of normal samples, whose velocity its field is not:
  rows with a conditional velocity make no sense there.
* Quadratures: a scalar Gaussian pair under four schedules, a scalar skew mixture through a `SolutionOperator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField, interpolants, problems
from flowops.times import Pair, Request, TimeLaw
from theory_checks.cases import gaussian, mixture, solved
from theory_checks.quadrature import standard_normal
from theory_checks.strategies import normal


@dataclass(frozen=True, eq=False)
class Setting:
    """An exact map and samples: random ones, or the nodes of a quadrature with their weights.

    Attributes:
        name: identifier in test names.
        b: the field.
        X: its flow map.
        I: the interpolant of the states.
        x0: base samples.
        x1: data samples.
        z: latents of a quadrature, None otherwise.
        weights: those of a quadrature, None for samples.
        tolerance: what an expected gradient may reach.
        rate_only: whether families of joint maps leave the state alone.
    """

    name: str
    b: VelocityField
    X: FlowMap
    I: Interpolant
    x0: Tensor
    x1: Tensor
    z: Tensor | None = None
    weights: Tensor | None = None
    tolerance: float = 1e-9
    rate_only: bool = False

    def teacher(self, kind: str) -> VelocityField | FlowMap | None:
        """What is passed as teacher."""
        return {"": None, "field": self.b, "map": self.X}[kind]


@dataclass(frozen=True)
class At(TimeLaw):
    """Always the same pair of times."""

    s: float
    t: float

    def draw(self, request: Request) -> Pair:
        one = torch.ones(request.n, dtype=request.dtype, device=request.device)
        return Pair(self.s * one, self.t * one)


SCHEDULES = ("linear", "trigonometric", "variance_preserving", "encoding_decoding")


@cache
def sample_settings(n: int = 16) -> tuple[Setting, ...]:
    """Random samples: a linear system, a Gaussian pair under four schedules, a mixture through a solver."""
    I = interpolants.linear()
    generator = torch.Generator().manual_seed(0)
    linear = problems.REFERENCE["linear"](I)
    assert linear.X is not None
    settings = [Setting("linear system", linear.b, linear.X, I, normal(1, n, 3), normal(2, n, 3))]
    for name in SCHEDULES:
        I = interpolants.NAMED[name]()
        settings.append(_sampled(f"gaussian {name}", gaussian(I), n, generator))
    return (*settings, _sampled("mixture solved", mixture(interpolants.trigonometric()), n // 2, generator))


def sampled(name: str) -> Setting:
    """One of `sample_settings` by name."""
    return next(one for one in sample_settings() if one.name == name)


def _sampled(name: str, problem: problems.Problem, n: int, generator: torch.Generator) -> Setting:
    x0 = problem.sample_base(n, generator=generator, dtype=torch.float64)
    x1 = problem.sample_data(n, generator=generator, dtype=torch.float64)
    assert problem.interpolant is not None
    return Setting(name, problem.b, problem.X or solved(problem.b), problem.interpolant, x0, x1)


MEAN, VARIANCE = 0.7, 0.4  # of the scalar Gaussian pair


@cache
def quadrature_settings() -> tuple[Setting, ...]:
    """Gauss-Hermite nodes of a scalar Gaussian pair under four schedules, and of a skew mixture through a solver."""
    settings = []
    for name in SCHEDULES:
        I = interpolants.NAMED[name]()
        problem = problems.gaussian([MEAN], VARIANCE, I)
        settings.append(_nodes(f"gaussian {name}", problem, problem.X, ((1.0, MEAN, VARIANCE),), 20))
    return (*settings, skew_setting())


def conditional_variance(I: Interpolant, t: float) -> float:
    r"""$\mathrm{Var}(\dot I_t\mid I_t)$ of the scalar Gaussian pair: both are jointly Gaussian."""
    time = torch.tensor([t], dtype=torch.float64)
    values = [I.alpha(time), I.beta(time), I.gamma(time)]
    rates = [I.alpha_dot(time), I.beta_dot(time), I.gamma_dot(time)]
    variances = (1.0, VARIANCE, 1.0)
    own = sum(v * a * a for v, a in zip(variances, values, strict=True))
    rate = sum(v * a * a for v, a in zip(variances, rates, strict=True))
    both = sum(v * a * r for v, a, r in zip(variances, values, rates, strict=True))
    return float(rate - both**2 / own)


SKEW = ((0.3, 1.1, 0.3), (0.7, -0.4, 0.6))  # weight, mean, variance


@cache
def skew_setting(order: int = 40) -> Setting:
    """A scalar mixture whose conditional velocity is skew, and its solved map."""
    weights, means, variances = zip(*SKEW, strict=True)
    problem = problems.gaussian_mixture(
        list(weights),
        [[m] for m in means],
        torch.tensor(variances, dtype=torch.float64)[:, None],
        interpolants.linear(),
    )
    return _nodes("skew mixture solved", problem, solved(problem.b), SKEW, order)


def _nodes(name: str, problem: problems.Problem, X: Any, modes: Any, order: int) -> Setting:
    I = problem.interpolant
    assert I is not None
    y, w = standard_normal(order, 2 + I.has_latent)
    one = torch.eye(y.shape[1], dtype=y.dtype)[1]
    grid = torch.cat([y + one * (mean + (variance**0.5 - 1) * y[:, 1:2]) for _, mean, variance in modes])
    product = torch.cat([share * w for share, _, _ in modes])
    kept = product > 1e-16  # the others would only cost time
    grid, product = grid[kept], product[kept]
    z = grid[:, 2:3] if I.has_latent else None
    tolerance = 1e-9 if len(modes) == 1 else 5e-6  # what the nodes resolve
    return Setting(name, problem.b, X, I, grid[:, :1], grid[:, 1:2], z=z, weights=product, tolerance=tolerance)

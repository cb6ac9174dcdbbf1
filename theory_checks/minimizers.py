r"""Expected losses of methods over pairs of times and a scalar Gaussian pair by quadrature, and their minimization.

The maps are those of a `Family` through the flow map, in which the truth is $\theta=0$.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField, interpolants, problems
from flowops.methods import get_method
from theory_checks.gradients import Fixed
from theory_checks.method_families import Family
from theory_checks.method_settings import MEAN, VARIANCE
from theory_checks.quadrature import power, standard_normal, unit
from theory_checks.strategies import normal

COUNT = 4  # directions of the family
ARRIVED = 1e-6  # theta, where the loss no longer changes
LEAST = 0.3  # of the weight
Weight = Callable[[Tensor, Tensor], Tensor]


def sloped(s: Tensor, t: Tensor) -> Tensor:
    """A positive weight that is not constant, and treats the two orders of the times differently."""
    return LEAST + s + t * t


def triangle(n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    r"""Times $s\le t$ and their weights: the mean over the triangle."""
    points, weights = power(unit(n), 2)
    s, share = points.T
    return s, s + (1 - s) * share, 2 * (1 - s) * weights


def square(n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Times in either order and their weights."""
    points, weights = power(unit(n), 2)
    s, t = points.T
    return s, t, weights


def diagonal(n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Equal times and their weights."""
    points, weights = unit(n)
    return points, points, weights


@dataclass(frozen=True, eq=False)
class Expectation:
    """A scalar Gaussian pair at the nodes of a quadrature over times and samples.

    Attributes:
        s: start times, one a node.
        t: end times.
        x0: base samples, `[nodes, 1]`.
        x1: data samples.
        weights: of the nodes, of sum one.
        I: the interpolant.
    """

    s: Tensor
    t: Tensor
    x0: Tensor
    x1: Tensor
    weights: Tensor
    I: Interpolant

    @classmethod
    def over(cls, times: tuple[Tensor, Tensor, Tensor], I: Interpolant | None = None, order: int = 14) -> Expectation:
        """The product of pairs of times and Gauss-Hermite nodes of both samples."""
        s, t, w = times
        grid, law = standard_normal(order, 2)
        x0, x1 = grid[:, :1].repeat(len(s), 1), (MEAN + VARIANCE**0.5 * grid[:, 1:]).repeat(len(s), 1)
        n = len(grid)
        product = (w[:, None] * law).flatten()
        return cls(s.repeat_interleave(n), t.repeat_interleave(n), x0, x1, product, I or interpolants.linear())

    @cached_property
    def problem(self) -> problems.Problem:
        """The pair with its field and its flow map."""
        return problems.gaussian([MEAN], VARIANCE, self.I)

    @property
    def b(self) -> VelocityField:
        """The field."""
        return self.problem.b

    @property
    def X(self) -> FlowMap:
        """The flow map."""
        assert self.problem.X is not None
        return self.problem.X

    @property
    def state(self) -> Tensor:
        """The states at the start times."""
        return self.I(self.s, self.x0, self.x1)

    def family(self, theta: Tensor | float = 0.0) -> Family:
        """The flow map plus `theta` along random directions."""
        return Family(self.X, 1, theta, count=COUNT)

    def loss(self, name: str, *, teacher: Any = None, weight: Weight | None = None, **options: Any) -> Loss:
        """The expected loss of a row, with a weight of the times, as a function of the map."""
        method = get_method(name, law=Fixed(tuple(self.s.tolist()), tuple(self.t.tolist())), **options)
        draw = method.draw(self.X, self.I, self.x0, self.x1, teacher=teacher, seed=3)
        weights = self.weights * (1 if weight is None else weight(self.s, self.t))
        return lambda X: method.evaluate(X, self.I, draw, teacher=teacher).per_sample @ weights

    def distance(self, wrong: FlowMap) -> Tensor:
        r"""The mean of $|\hat X_{s,t}(I_s)-X_{s,t}(I_s)|^2$."""
        off = wrong(self.s, self.t, self.state) - self.X(self.s, self.t, self.state)
        return off.square().sum(1) @ self.weights


Loss = Callable[[FlowMap], Tensor]


def minimize(loss: Loss, X: Family, steps: int = 80) -> Family:
    """The map of the family that L-BFGS arrives at."""
    optimizer = torch.optim.LBFGS(
        X.parameters(), max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-18
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(X)
        value.backward()
        return value

    optimizer.step(closure)
    return X


def one_sided_constant(X: FlowMap) -> Tensor:
    r"""The largest $\partial_x\hat v_{t,t}$, or zero, over times and six deviations."""
    t, x = torch.cartesian_prod(torch.linspace(0, 1, 41), torch.linspace(-5, 6, 221)).double().T
    slope = X.velocity().jvp(t, x[:, None], torch.ones_like(x)[:, None])
    return slope.detach().max().clamp(min=0)


def starts(number: int, seed: int = 0) -> list[Tensor]:
    r"""Random $\theta$ of size one."""
    return [normal(seed + k, COUNT) for k in range(number)]

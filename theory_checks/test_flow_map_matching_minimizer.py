r"""Flow map matching has one minimizer: the direct loss is least at the flow map, and nowhere else.

With $y=\hat X_{t,s}(I_t)$ and $\mathbb E[\dot I_t\mid I_t]=b_t(I_t)$ the loss is the weighted conditional variance of
$\dot I_t$, which no map changes, and
$$\int\!\!\int w_{s,t}\,\mathbb E\big(|\partial_t\hat X_{s,t}(y)-b_t(I_t)|^2+|\hat X_{s,t}(y)-I_t|^2\big)\,ds\,dt.$$
Both parts vanish only if $\hat X_{t,s}$ inverts $\hat X_{s,t}$ and this solves the Lagrangian equation from everywhere
that $\hat X_{t,s}$ reaches: at the flow map. How far a map can be at some excess: `test_flow_map_matching_bound.py`.
In a finite-dimensional family the excess is at least a multiple of the squared distance, with the least eigenvalue of
the Hessian near the truth, and minimization from random starts arrives at the truth. Where $w_{s,t}=0$ nothing is
learned.

Hypotheses: $b$ the field of the interpolant, $\hat X_{s,s}=\mathrm{id}$, $w_{s,t}>0$ for almost all pairs in both
orders, no stop-gradient. Scalar Gaussian pair; expectations by quadrature over $(x_0,x_1)$ and $(s,t)\in[0,1]^2$.

Source: 2406.07507 Prop. 3.11.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants
from theory_checks.method_settings import conditional_variance
from theory_checks.minimizers import ARRIVED, COUNT, Expectation, Loss, Weight, minimize, sloped, square, starts
from theory_checks.verdicts import Check

SCHEDULES = ("linear", "trigonometric")
EVERY = pytest.mark.parametrize("schedule", SCHEDULES)


@cache
def pairs(schedule: str, order: int = 20) -> Expectation:
    return Expectation.over(square(), interpolants.NAMED[schedule](), order)


def loss(schedule: str, weight: Weight | None = None) -> Loss:
    return pairs(schedule).loss("fmm", weight=weight)


def parts(X: FlowMap, e: Expectation) -> Tensor:
    """The two squared defects, at the nodes."""
    x = e.I(e.t, e.x0, e.x1)
    y = X(e.t, e.s, x)
    value, dt = X.value_and_dt(e.s, e.t, y)
    return ((dt - e.b(e.t, x)).square() + (value - x).square()).sum(1)


@EVERY
@pytest.mark.parametrize("weight", [None, sloped])
def test_the_excess_is_that_of_two_defects(check: Check, schedule: str, weight: Weight | None) -> None:
    e = pairs(schedule)
    w = e.weights * (1 if weight is None else weight(e.s, e.t))
    variance = torch.tensor([conditional_variance(e.I, float(t)) for t in e.t.unique()], dtype=torch.float64)
    least = variance[torch.searchsorted(e.t.unique(), e.t)] @ w
    for theta in starts(3):
        X = e.family(0.2 * theta)
        check.vanishes(loss(schedule, weight)(X) - least - parts(X, e) @ w, 1e-6, scale=least)


def curvature(f: Loss, e: Expectation, h: float = 1e-3) -> Tensor:
    r"""The quadratic form of `f` at the truth of the family, by polarization."""
    basis = h * torch.eye(COUNT, dtype=torch.float64)
    rows = [
        [float(f(e.family(a + b)).detach() - f(e.family(a - b)).detach()) / (2 * h) ** 2 for b in basis] for a in basis
    ]
    return torch.tensor(rows, dtype=torch.float64)


@EVERY
def test_the_excess_bounds_the_distance_in_a_family(check: Check, schedule: str) -> None:
    e, objective = pairs(schedule), loss(schedule)
    least = float(objective(e.X))
    ratios = torch.linalg.eigvals(torch.linalg.solve(curvature(e.distance, e), curvature(objective, e))).real
    assert ratios.min() > 0.1, "the loss hardly sees a direction"
    for size in (1.0, 0.3, 0.03):
        for theta in starts(4, seed=30):
            X = e.family(size * theta)
            at_least = 0.25 * float(ratios.min()) * e.distance(X)
            check.at_most(float((at_least / (objective(X) - least)).detach()), 1.0, where=f"at size {size}")


@EVERY
@pytest.mark.parametrize("weight", [None, sloped])
def test_from_random_starts_minimization_arrives_at_the_flow_map(
    check: Check, schedule: str, weight: Weight | None
) -> None:
    for theta in starts(2, seed=20):
        found = minimize(loss(schedule, weight), pairs(schedule).family(0.5 * theta))
        check.vanishes(found.theta, ARRIVED)


class Late(FlowMap):
    r"""$X_{s,t}(x)+\delta\,(t-s)\,\eta_s\eta_t\cos x$, wrong where both times exceed 0.6."""

    def __init__(self, X: FlowMap, delta: float) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        late = ((s - 0.6).clamp(min=0) * (t - 0.6).clamp(min=0)) ** 2
        return self.X(s, t, x) + self.delta * ((t - s) * late)[:, None] * torch.cos(x)


@EVERY
def test_negative_control(check: Check, schedule: str) -> None:
    """Where the weight vanishes a wrong map has the least loss; with a positive one it has more."""
    e = pairs(schedule)

    def early(s: Tensor, t: Tensor) -> Tensor:
        return (torch.minimum(s, t) <= 0.6) * 1.0

    def excess(delta: float, weight: Weight | None) -> float:
        objective = loss(schedule, weight)
        return float(objective(Late(e.X, delta)) - objective(e.X))

    assert e.distance(Late(e.X, 20.0)) > 1e-7
    check.at_most(abs(excess(20.0, early)), 1e-12)
    large, half = (excess(delta, None) for delta in (20.0, 10.0))
    assert large > 1e-5
    assert abs(large / half - 4) < 0.4

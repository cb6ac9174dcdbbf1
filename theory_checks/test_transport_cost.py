r"""Kinetic energy bounds the transport cost, and the optimal field between two normal laws attains it.

$$W_2^2(\rho_s,\rho_t)\le(t-s)\int_s^t\mathbb E_{\rho_\tau}|b_\tau|^2\,d\tau,\qquad
b_\tau=(T-\mathrm{id})\circ\big((1-\tau)\,\mathrm{id}+\tau T\big)^{-1}\ \text{attains it},$$

$T$ the optimal map. Hypotheses: $b$ carries $\rho_s$ to $\rho_t$, with finite energy. Means over normal laws are exact:
the action is a quadratic polynomial of the state, and a symmetric cubature of degree 3 integrates it.

Source: Benamou, Brenier 2000, Numer. Math. 84:375; $W_2$ of normal laws: Dowson, Landau 1982.
"""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops._arguments import per_event
from flowops.maps import action
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, named_cases
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

MEAN = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
FACTOR = torch.tensor([[0.8, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.3, 0.2, 1.5]], dtype=torch.float64)
ROOT = torch.from_numpy(scipy.linalg.sqrtm((FACTOR @ FACTOR.mT).numpy()).real)  # of N(0, I) to N(MEAN, ROOT^2)


class Optimal(VelocityField):
    """The optimal field from the standard normal law to that of `MEAN` and `ROOT`."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        middle = torch.lerp(torch.eye(3, dtype=x.dtype), ROOT.to(x.dtype), t[:, None, None].to(x.dtype))
        start = torch.linalg.solve(middle, (x - t[:, None].to(x.dtype) * MEAN.to(x.dtype))[..., None])[..., 0]
        return MEAN.to(x.dtype) + start @ ROOT.to(x.dtype).mT - start


class Lines(FlowMap):
    """Its flow: straight lines, at constant speed."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + per_event(t - s, x).to(x.dtype) * Optimal()(s, x)


class Hurried(FlowMap):
    r"""The same path in the clock $\tau(t)=t+\delta\sin(\pi t)$."""

    def __init__(self, delta: float) -> None:
        super().__init__()
        self.delta = delta

    def clock(self, t: Tensor) -> Tensor:
        return t + self.delta * torch.sin(torch.pi * t)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return Lines()(self.clock(s), self.clock(t), x)


def mean_action(X: FlowMap, b: VelocityField, s: float, t: float, mean: Tensor, root: Tensor) -> Tensor:
    """Over a normal law of states at time `s`."""
    size = len(mean)
    axes = size**0.5 * torch.cat([torch.eye(size), -torch.eye(size)]).double()
    return action(X, b, s, t, mean + axes @ root.mT, nodes=48).mean()


def wasserstein2(m: Tensor, A: Tensor, n: Tensor, B: Tensor) -> float:
    """The square of the distance of two normal laws, by scipy's root."""
    root = scipy.linalg.sqrtm(A.numpy())
    cross = scipy.linalg.sqrtm(root @ B.numpy() @ root).real
    return float((m - n).square().sum() + A.trace() + B.trace() - 2 * np.trace(cross))


EYE = torch.eye(3, dtype=torch.float64)
COST = wasserstein2(0 * MEAN, EYE, MEAN, ROOT @ ROOT)


def test_the_optimal_field_attains_it(check: Check) -> None:
    check.vanishes(mean_action(Lines(), Optimal(), 0.0, 1.0, 0 * MEAN, EYE) - COST, CLOSED_FORM, scale=COST)
    half = torch.lerp(EYE, ROOT, 0.6)
    back = mean_action(Lines(), Optimal(), 0.6, 0.1, 0.6 * MEAN, half)
    cost = wasserstein2(0.6 * MEAN, half @ half, 0.1 * MEAN, torch.matrix_power(torch.lerp(EYE, ROOT, 0.1), 2))
    check.vanishes(back - cost, CLOSED_FORM, scale=cost)


@pytest.mark.parametrize("schedule", ["linear", "trigonometric", "edm"])
def test_no_interpolant_between_normal_laws_spends_less(schedule: str, check: Check) -> None:
    I = interpolants.named(schedule)
    problem = problems.gaussian(MEAN, ROOT @ ROOT, I)
    s, t = 0.1, 0.9
    moments = []
    for time in (s, t):
        q = torch.tensor(time, dtype=torch.float64)
        moments.append((I.beta(q) * MEAN, I.alpha(q) ** 2 * EYE + I.beta(q) ** 2 * ROOT @ ROOT))
    (m, A), (n, B) = moments
    spent = mean_action(problem.X, problem.b, s, t, m, torch.linalg.cholesky(A))
    cost = wasserstein2(m, A, n, B)
    check.at_most(float((cost - spent).clamp(min=0)), CLOSED_FORM)
    assert spent > 1.001 * cost  # the path is no geodesic


@pytest.mark.parametrize("known", named_cases("linear", "rotation", "logistic", "pendulum"), ids=lambda c: c.name)
def test_no_trajectory_is_longer_than_its_action_says(known: Case, check: Check) -> None:
    x = known.states(20, 1)
    s, t = torch.rand(2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = (known.X(s, t, x) - x).square().flatten(1).sum(1)
    check.vanishes((moved - action(known.X, known.b, s, t, x)).clamp(min=0), CLOSED_FORM)
    assert not action(known.X, known.b, 0.4, 0.4, x).any()


def test_the_optimum_is_a_minimum(check: Check) -> None:
    r"""The excess of a clock that is wrong by $\delta$ is $\tfrac12\pi^2\delta^2$ of the cost."""
    for delta in (1e-2, 2e-2):
        X = Hurried(delta)
        spent = mean_action(X, X.velocity(), 0.0, 1.0, 0 * MEAN, EYE)
        check.vanishes(spent / COST - 1 - torch.pi**2 * delta**2 / 2, CLOSED_FORM)


def test_single_precision(check: Check) -> None:
    x = normal(2, 5, 3)
    check.vanishes(action(Lines(), Optimal(), 0.1, 0.9, x.float()) - action(Lines(), Optimal(), 0.1, 0.9, x), SINGLE)


def test_negative_control(check: Check) -> None:
    exact = mean_action(Lines(), Optimal(), 0.0, 1.0, 0 * MEAN, EYE) - COST
    wrong, half = (
        mean_action(Lines(), (1 + delta) * Optimal(), 0.0, 1.0, 0 * MEAN, EYE) - COST - exact for delta in (1e-3, 5e-4)
    )
    check.sees(wrong, half, CLOSED_FORM)

r"""Map distillation has one minimizer where its weight is positive: L >= 2 w e^{-2M} D (LMD), L >= 2 w D (EMD).

With $D$ the mean over $s\le t$ of $|\hat X_{s,t}(I_s)-X_{s,t}(I_s)|^2$, $w\le w_{s,t}$, and $M\ge0$ a one-sided
Lipschitz constant of $b$: both losses vanish at the flow map, and the squared distance is at most the integral of the
squared residual along the way, at $\hat X_{s,\tau}(I_s)$ and carried on by $e^{M(t-\tau)}$ (Lagrangian), or at $I_\tau$
(Eulerian).

Where the weight vanishes nothing is learned: a map that is wrong for $t>0.6$ only has no Lagrangian loss under
$w=1_{t\le0.6}$, one that is wrong for $s<0.4$ only no Eulerian loss under $w=1_{s\ge0.4}$.

Hypotheses: $b$ the given field, once continuously differentiable in $x$, $\hat X_{s,s}=\mathrm{id}$, $w_{s,t}>0$ almost
everywhere, the loss without stop-gradients. Scalar Gaussian pair; expectations by quadrature.

Source: 2406.07507, the corollaries of its Lagrangian and Eulerian equations; 2505.18825 (26), (28).
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from flowops import FlowMap
from theory_checks.minimizers import (
    ARRIVED,
    LEAST,
    Expectation,
    Loss,
    Weight,
    minimize,
    one_sided_constant,
    sloped,
    starts,
    triangle,
)
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

EVERY = pytest.mark.parametrize("name", ["lmd", "emd"])
CUT = {"lmd": lambda _, t: (t <= 0.6) * 1.0, "emd": lambda s, _: (s >= 0.4) * 1.0}


@cache
def pairs() -> Expectation:
    return Expectation.over(triangle(8), order=8)


def loss(name: str, weight: Weight | None = None) -> Loss:
    return pairs().loss(name, teacher=pairs().b, form="map", stop_gradient=False, weight=weight)


class Bump(FlowMap):
    r"""$X_{s,t}(x)+\delta\,(t-s)\,\eta\,\cos x$, with $\eta$ that vanishes, smoothly, where the weight does not."""

    def __init__(self, X: FlowMap, name: str, delta: float) -> None:
        super().__init__()
        self.X, self.name, self.delta = X, name, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        beyond = (t - 0.6 if self.name == "lmd" else 0.4 - s).clamp(min=0) ** 2
        return self.X(s, t, x) + self.delta * ((t - s) * beyond)[:, None] * torch.cos(x)


@EVERY
@pytest.mark.parametrize("size", [1.0, 0.1, 0.01])
def test_the_loss_bounds_the_distance(check: Check, name: str, size: float) -> None:
    M = one_sided_constant(pairs().X) if name == "lmd" else torch.zeros(())
    for theta in starts(4):
        X = pairs().family(size * theta)
        for weight, least in ((None, 1.0), (sloped, LEAST)):
            bound = loss(name, weight)(X) * (2 * M).exp() / (2 * least)
            check.at_most(float((pairs().distance(X) / bound).detach()), 1.0, where=f"for {name} at size {size}")


@EVERY
def test_it_vanishes_at_the_flow_map(check: Check, name: str) -> None:
    for weight in (None, sloped):
        check.at_most(float(loss(name, weight)(pairs().X)), 1e-20)


@EVERY
def test_from_random_starts_minimization_arrives_at_the_flow_map(check: Check, name: str) -> None:
    for weight in (None, sloped):
        for theta in starts(3, seed=20):
            check.vanishes(minimize(loss(name, weight), pairs().family(theta)).theta, ARRIVED)


@EVERY
def test_negative_control(check: Check, name: str) -> None:
    """Where the weight vanishes a wrong map has no loss; where it is positive, however small, it has one."""
    X = Bump(pairs().X, name, 0.5)
    assert pairs().distance(X) > 1e-6
    check.at_most(float(loss(name, CUT[name])(X)), 1e-20)
    small = loss(name, lambda s, t: CUT[name](s, t) + 1e-3)(X)
    half = loss(name, lambda s, t: CUT[name](s, t) + 1e-3)(Bump(pairs().X, name, 0.25))
    assert small > 1e-7
    assert abs(small / half - 4) < 0.1


@EVERY
def test_the_wrong_field_has_another_minimizer(name: str) -> None:
    e = pairs()
    wrong = e.loss(name, teacher=1.1 * e.b, form="map", stop_gradient=False)
    found = minimize(wrong, e.family(0.1 * normal(3, 4)))
    assert found.theta.detach().norm() > 1e-2

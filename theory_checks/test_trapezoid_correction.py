r"""The trapezoid target lacks its derivative by one order less than either end does, and gains no order otherwise.

With $h=t-s$, at the flow map,
$$v_{s,t}-b_s=O(h),\qquad v_{s,t}-b_t(X_{s,t})=O(h),\qquad
v_{s,t}-\tfrac12\big(b_s+b_t(X_{s,t})\big)=-\tfrac{h^2}{12}\,\frac{d^2}{ds^2}b_s(x_s)+O(h^3)$$
(Taylor's; the trapezoid rule): what is left to the derivatives of $v$ is $h\,D_sv$, $-h\,\partial_tv$ and
$\tfrac h2(D_s-\partial_t)v$, so that an error in them, of differences or of a low precision, weighs a power of $h$ less
in the mean of the two. The conjecture that the error of a *frozen* wrong map is one order smaller is false. Of
$v+\epsilon g$ the three right sides are off by $\epsilon h\,D_sg$, $\epsilon h\,(\nabla b\,g-\partial_tg)$ and their
mean, all $O(h)$; and where $g=h^ka_s(x)$, as of a solver's step, all three are off by $-k\,\epsilon g\,(1+O(h))$: of
one sign, so that their mean cancels nothing.

Hypotheses: $b$ three times differentiable.

Source: Zhu, A second-order MeanFlow (note, 2025), whose name this is; derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, residuals
from flowops._arguments import per_event
from flowops.fields import acceleration
from theory_checks.cases import gaussian
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PROBLEM = gaussian(interpolants.trigonometric())
LENGTHS = torch.tensor([0.08, 0.04, 0.02, 0.01], dtype=torch.float64)
START = 0.3
RESIDUALS: dict[str, Callable[..., Any]] = {
    "eulerian": residuals.eulerian_velocity,
    "lagrangian": residuals.lagrangian_velocity,
    "trapezoid": residuals.trapezoid_velocity,
}
ORDERS = {"eulerian": 1.0, "lagrangian": 1.0, "trapezoid": 2.0}
EVERY = pytest.mark.parametrize("name", RESIDUALS)


def states(event: tuple[int, ...] = (2,)) -> Tensor:
    return normal(3, 6, *event)


def without_derivative(name: str, s: float, t: float, x: Tensor) -> Tensor:
    """What is left of a right side if the map's derivatives are taken for zero."""
    start, end = PROBLEM.b(s, x), PROBLEM.b(t, PROBLEM.X(s, t, x))
    return {"eulerian": start, "lagrangian": end, "trapezoid": (start + end) / 2}[name]


class Off(FlowMap):
    r"""$v_{s,t}+\epsilon(t-s)^k\sin(x+1)$ for the average velocity $v$ of a map."""

    def __init__(self, X: FlowMap, epsilon: float, power: int) -> None:
        super().__init__()
        self.X, self.epsilon, self.power = X, epsilon, power

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + per_event(t - s, x) * self.error(s, t, x)

    def error(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """By how much the average velocity is off."""
        return self.epsilon * per_event((t - s) ** self.power, x) * torch.sin(x + 1)


@EVERY
def test_the_order_of_what_the_derivative_brings(check: Check, name: str) -> None:
    x = states()
    left = [PROBLEM.X.average_velocity(START, START + h, x) for h in LENGTHS.tolist()]
    off = [v - without_derivative(name, START, START + h, x) for v, h in zip(left, LENGTHS.tolist(), strict=True)]
    check.order(torch.stack([e.norm() for e in off]), LENGTHS, ORDERS[name])


def test_the_constant_of_the_trapezoid(check: Check) -> None:
    r"""$-\tfrac1{12}\,d^2b/ds^2$ along the flow, by differences of the acceleration."""
    x, h, e = states(), 2e-3, 1e-4
    off = PROBLEM.X.average_velocity(START, START + h, x) - without_derivative("trapezoid", START, START + h, x)
    along = acceleration(PROBLEM.b)
    up, down = (along(START + d, PROBLEM.X(START, START + d, x)) for d in (e, -e))
    jerk = (up - down) / (2 * e)
    check.vanishes(off / h**2 + jerk / 12, 5e-3, scale=1 + jerk.abs().max())
    assert jerk.abs().max() > 0.5


@EVERY
def test_the_identities_are_exact(check: Check, name: str) -> None:
    for x in (states(), states()[:1]):
        for s, t in ((0.2, 0.9), (0.9, 0.2), (0.4, 0.4)):
            check.vanishes(RESIDUALS[name](PROBLEM.X, PROBLEM.b, s, t, x), 1e-9)


@EVERY
def test_a_frozen_wrong_map_is_off_at_first_order(check: Check, name: str) -> None:
    """The conjecture for a general error: the right side less that at the flow map, over the lengths."""
    x, X, off = states(), Off(PROBLEM.X, 1e-3, 0), []
    for h in LENGTHS.tolist():
        right = RESIDUALS[name](X, PROBLEM.b, START, START + h, x, parts=True).right
        off.append((right - PROBLEM.X.average_velocity(START, START + h, x)).norm())
    check.order(torch.stack(off), LENGTHS, 1.0)


@EVERY
@pytest.mark.parametrize("power", [1, 2])
def test_an_error_that_vanishes_on_the_diagonal_comes_back_with_its_power(check: Check, name: str, power: int) -> None:
    x, X, h = states(), Off(PROBLEM.X, 1e-2, power), 1e-3
    right = RESIDUALS[name](X, PROBLEM.b, START, START + h, x, parts=True).right
    one = torch.ones(len(x), dtype=torch.float64)
    wrong = X.error(START * one, (START + h) * one, x)
    found = (right - PROBLEM.X.average_velocity(START, START + h, x)) / wrong
    check.vanishes(found + power, 0.02)


def test_single_precision_loses_a_digit_less(check: Check) -> None:
    x = states()
    for name in RESIDUALS:
        single = RESIDUALS[name](PROBLEM.X, PROBLEM.b, START, 0.8, x.float())
        check.vanishes(single, 2e-5)


def test_image_shaped_states_and_a_negative_control(check: Check) -> None:
    """A map off by delta is seen, and the plain trapezoid is no identity."""
    x = states()
    wrong, half = (RESIDUALS["trapezoid"](Off(PROBLEM.X, d, 0), PROBLEM.b, 0.2, 0.9, x) for d in (1e-3, 5e-4))
    check.sees(wrong, half, 1e-9)
    plain = PROBLEM.X.average_velocity(0.2, 0.9, x) - without_derivative("trapezoid", 0.2, 0.9, x)
    assert plain.abs().max() > 1e-2

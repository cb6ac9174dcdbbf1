r"""Length, straightness, curvature and principal axes of trajectories are those of lines, circles and helices.

For a circle of radius $r$ run through at angular speed $\omega$ the curvature is $1/r$, the angle turned and the length
over $r$ are $\omega|t-s|$; a line at constant speed turns nothing and varies along one axis, by $|x_t-x_s|^2/12$. For
every map
$$(t-s)\int_s^t|\partial_\tau X_{s,\tau}|^2d\tau=|X_{s,t}(x)-x|^2+\text{straightness},\qquad
|X_{s,t}(x)-x|\le\text{length}\le\Big((t-s)\int_s^t|\partial_\tau X_{s,\tau}|^2d\tau\Big)^{1/2},$$
so that the mean kinetic energy exceeds $W_2^2(\rho_s,\rho_t)$ by two gaps: that of the curves and that of their ends.
Both vanish for the optimal map between normal laws. Length, curvature, angle turned do not depend on the clock,
straightness does.

Hypotheses: curves twice continuously differentiable that do not stand still.

Source: 2209.03003 (straightness); 2405.11326 (principal axes); Benamou, Brenier 2000.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, problems
from flowops._arguments import per_event
from flowops.maps import (
    action,
    arc_length,
    curvature,
    principal_variances,
    straightness,
    tangent_norms,
    turning,
)
from flowops.metrics import wasserstein2
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED, Case, named_cases
from theory_checks.controls import Perturbed
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

OMEGA = 2.0
TURN = problems.rotation(OMEGA)
S = torch.tensor([0.1, 0.9, 0.5, 0.2], dtype=torch.float64)  # forward, backward, equal times, forward
T = torch.tensor([0.8, 0.3, 0.5, 1.0], dtype=torch.float64)
STRETCH = torch.tensor([0.5, 2.0, 1.3], dtype=torch.float64)
Measure = Callable[..., Tensor]


class Lines(FlowMap):
    r"""Optimal transport of the standard normal law to that of deviations `STRETCH`: lines, in a clock $\tau(t)$."""

    def __init__(self, hurry: float = 0.0) -> None:
        super().__init__()
        self.hurry = hurry

    def clock(self, t: Tensor) -> Tensor:
        """Strictly increasing, 0 at 0 and 1 at 1."""
        return t + self.hurry * torch.sin(torch.pi * t)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        start, end = (1 + self.clock(z)[:, None] * (STRETCH - 1) for z in (s, t))
        return x * (end / start).to(x.dtype)


class Helix(FlowMap):
    """The rotation of the plane, and a climb at speed 1, in a clock of its own."""

    def __init__(self, hurry: float = 0.0) -> None:
        super().__init__()
        self.clock = Lines(hurry).clock

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        s, t = self.clock(s), self.clock(t)
        return torch.cat([TURN.X(s, t, x[:, :2]), x[:, 2:] + (t - s)[:, None].to(x.dtype)], 1)


def norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def test_of_circles(check: Check) -> None:
    """A solved map too, and events of the shape of an image."""
    angle = OMEGA * (T - S).abs()
    for X, event, tolerance in (
        (TURN.X, (2,), CLOSED_FORM),
        (TURN.b.flow_map(method="rk4", steps=40), (2,), SOLVED),
        (TURN.X, (1, 1, 2), CLOSED_FORM),
    ):
        x = normal(0, 4, *event)
        r = norm(x)
        check.vanishes(curvature(X, S, T, x) - 1 / r, 10 * tolerance, scale=1 / r)
        check.vanishes(turning(X, S, T, x, nodes=4) - angle, 10 * tolerance)
        check.vanishes(arc_length(X, S, T, x, nodes=4) - r * angle, tolerance, scale=r)
        spent = (angle**2 - 4 * torch.sin(angle / 2) ** 2) * r**2
        check.vanishes(straightness(X, S, T, x, nodes=8) - spent, 10 * tolerance, scale=r**2)
        check.vanishes(tangent_norms(X, S, [S, T, 0.3], x) - OMEGA * r, tolerance, scale=r)


def test_the_axes_of_an_arc(check: Check) -> None:
    x = normal(1, 4, 2)
    a = (OMEGA * (T - S).abs() / 2).clamp(min=1e-12)  # half of the angle
    mean, wave = torch.sin(a) / a, torch.sin(2 * a) / (4 * a)
    both = torch.stack([0.5 + wave - mean**2, 0.5 - wave], 1).sort(1, descending=True).values
    check.vanishes(principal_variances(TURN.X, S, T, x) - norm(x)[:, None] ** 2 * both, CLOSED_FORM, scale=4.0)
    one = principal_variances(TURN.X, 0.0, 2 * math.pi / OMEGA, x[:1])
    check.vanishes(one - norm(x[:1]) ** 2 / 2, CLOSED_FORM, scale=4.0)


def test_of_lines(check: Check) -> None:
    x = normal(2, 4, 3)
    for X in (Lines(), Lines(0.2)):
        chord = norm(X(S, T, x) - x)
        check.vanishes(arc_length(X, S, T, x) - chord, CLOSED_FORM)
        check.vanishes(turning(X, S, T, x), 1e-6)  # the root of a difference of squares
        check.vanishes(curvature(X, S, T, x), 1e-6)
        variances = principal_variances(X, S, T, x)
        check.vanishes(variances[:, 1:], CLOSED_FORM)
    check.vanishes(principal_variances(Lines(), S, T, x)[:, 0] - norm(Lines()(S, T, x) - x) ** 2 / 12, CLOSED_FORM)
    check.vanishes(straightness(Lines(), S, T, x), CLOSED_FORM)
    assert straightness(Lines(0.2), S, T, x)[:2].min() > 1e-3  # it hurries


def test_of_a_helix_in_any_clock(check: Check) -> None:
    x = normal(3, 4, 3)
    r, h = norm(x[:, :2]), OMEGA
    speed = (h**2 * r**2 + 1).sqrt()
    for X in (Helix(), Helix(0.15)):
        span = (X.clock(T) - X.clock(S)).abs()
        check.vanishes(curvature(X, S, T, x) - r * h**2 / speed**2, CLOSED_FORM)
        check.vanishes(turning(X, S, T, x) - r * h**2 / speed * span, CLOSED_FORM)
        check.vanishes(arc_length(X, S, T, x) - speed * span, CLOSED_FORM)
    assert (straightness(Helix(0.15), S, T, x) - straightness(Helix(), S, T, x))[:2].abs().min() > 1e-3


@pytest.mark.parametrize(
    "known", named_cases("linear", "logistic", "pendulum", "gaussian trigonometric"), ids=lambda c: c.name
)
def test_the_action_is_the_chord_and_what_is_not_straight(known: Case, check: Check) -> None:
    x = known.states(4, 4)
    spent, chord = action(known.X, known.b, S, T, x), norm(known.X(S, T, x) - x)
    scale = 1 + spent
    check.vanishes(spent - chord**2 - straightness(known.X, S, T, x), 10 * known.tolerance, scale=scale)
    length = arc_length(known.X, S, T, x)
    check.vanishes((chord - length).clamp(min=0), known.tolerance, scale=scale)
    check.vanishes((length - spent.sqrt()).clamp(min=0), known.tolerance, scale=scale)


def test_the_two_gaps_of_the_kinetic_energy(check: Check) -> None:
    """Samples are assigned to those that they are carried to, if and only if the map is optimal."""
    x = normal(5, 60, 3)

    def gaps(X: FlowMap) -> tuple[Tensor, Tensor]:
        y = X(0.0, 1.0, x)
        return straightness(X, 0.0, 1.0, x).mean(), norm(y - x).square().mean() - wasserstein2(x, y) ** 2

    for X, curved, crossed in ((Lines(), False, False), (Lines(0.2), True, False), (Helix(), True, True)):
        for gap, there in zip(gaps(X), (curved, crossed), strict=True):
            check.at_most(float((-gap).clamp(min=0)), CLOSED_FORM)
            assert (gap > 0.05) if there else (gap < CLOSED_FORM)


def test_what_rests_turns_nowhere() -> None:
    x = torch.zeros(1, 2).double()
    for measure in (arc_length, straightness, turning):
        assert not measure(TURN.X, 0.0, 1.0, x).any()
    assert curvature(TURN.X, 0.0, 1.0, x).isnan()


def test_the_rates_are_those_of_the_curve_and_not_of_the_field(check: Check) -> None:
    r"""Of a map that is no flow, $x+(t-s)^2a$, whose field is zero."""
    a = normal(6, 4, 3)
    X, x = FlowMap.from_function(lambda s, t, y: y + (t - s)[:, None] ** 2 * a[: len(y)]), normal(7, 4, 3)
    bound = FlowMap.from_function(lambda s, t, y: y + per_event((t - s) ** 2, y) * a[0])
    check.vanishes(arc_length(bound, S, T, x) - (T - S) ** 2 * norm(a[:1]), CLOSED_FORM)
    check.vanishes(straightness(bound, S, T, x) - (T - S) ** 4 * norm(a[:1]) ** 2 / 3, CLOSED_FORM)
    check.vanishes(tangent_norms(X, S, [T], x) - 2 * (T - S).abs() * norm(a), CLOSED_FORM)


def test_single_precision(check: Check) -> None:
    x = normal(8, 4, 3)
    for measure in (arc_length, straightness, turning, curvature, principal_variances):
        exact, found = (measure(Helix(0.1), S, T, z) for z in (x, x.float()))
        assert found.dtype == torch.float32
        check.vanishes(found - exact, SINGLE, scale=10 * (1 + exact.abs().max()))


@pytest.mark.parametrize("measure", [arc_length, turning, straightness, principal_variances])
def test_negative_control(measure: Measure, check: Check) -> None:
    """Of a circle that is perturbed."""
    x = normal(9, 2, 2)
    exact = measure(TURN.X, S[:2], T[:2], x)
    wrong, half = (measure(Perturbed(TURN.X, delta), S[:2], T[:2], x) - exact for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)

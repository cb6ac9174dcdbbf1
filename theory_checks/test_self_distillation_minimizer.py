r"""Self-distillation has one minimizer: L_b + L_D exceeds its minimum by a multiple of the squared distance to X.

With $L_b$ the flow-matching loss, $L_D$ the mean over $s\le t$ of a squared residual along the map's own field
$\hat v_{t,t}$, and $D$ the mean of $|\hat X_{s,t}(I_s)-X_{s,t}(I_s)|^2$, $x_\tau=X_{s,\tau}(I_s)$,

* LSD: $D\le2e^{2M}\big(L_b+L_{LSD}-\min\big)$, $M\ge0$ a one-sided Lipschitz constant of $\hat v_{t,t}$, since
  $\frac d{d\tau}|\hat X_{s,\tau}-x_\tau|\le M|\hat X_{s,\tau}-x_\tau|
  +|\hat v_{\tau,\tau}-b_\tau|(x_\tau)+|r_{s,\tau}|$;
* ESD: $D\le\max(1,2\Lambda^2)\big(L_b+L_{ESD}-\min\big)$, $\Lambda$ the largest $|\nabla\hat X|$, since
  $\hat X_{s,t}(I_s)-x_t=-\int_s^t\big(r_{\tau,t}+\nabla\hat X_{\tau,t}(b_\tau-\hat v_{\tau,\tau})\big)(x_\tau)\,d\tau$;
* PSD: no constant, as continuity of $v$ carries the tangent to longer steps: where $v$ is Lipschitz at the diagonal the
  bound is by the power $2/5$ of the loss, and no better (`test_semigroup_bound.py`); in a finite-dimensional family
  there is a constant.

Both inequalities have the law of $I_\tau$ on their right sides, as the losses do. So the minimum is reached at the flow
map only; from random starts in a family that contains it, minimization arrives there. Each part alone has other
minimizers: $L_D$ the flow map of every field, $L_b$ every map with the right diagonal.

Hypotheses: $b$ the field of the interpolant, $\hat v_{t,t}$ Lipschitz, $\hat X_{s,s}=\mathrm{id}$, the loss without
stop-gradients. Scalar Gaussian pair; expectations by quadrature over $(x_0,x_1)$ and $(s,t)$.

Source: 2505.18825 Prop. 2.3 (11)-(15), (59)-(70).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, problems
from theory_checks.controls import Perturbed
from theory_checks.minimizers import (
    ARRIVED,
    Expectation,
    Loss,
    diagonal,
    minimize,
    one_sided_constant,
    starts,
    triangle,
)
from theory_checks.verdicts import Check

ROWS = ("lsd", "esd", "psd-m", "psd-u")
EVERY = pytest.mark.parametrize("name", ROWS)
SIZES = (1.0, 0.1, 0.01)


@cache
def pairs() -> Expectation:
    return Expectation.over(triangle())


@cache
def on_diagonal() -> Loss:
    """The flow-matching loss."""
    return Expectation.over(diagonal()).loss("fm")


@cache
def off_diagonal(name: str) -> Loss:
    """The loss of self-distillation."""
    return pairs().loss(name, form="map", eta=0.0, stop_gradient=False)


def total(name: str) -> Loss:
    return lambda X: on_diagonal()(X) + off_diagonal(name)(X)


def excess(name: str, X: FlowMap) -> float:
    """The loss less its value at the flow map."""
    return float((total(name)(X) - total(name)(pairs().X)).detach())


def largest_slope(X: FlowMap) -> Tensor:
    r"""The largest $|\partial_x\hat X_{s,t}|$ over pairs of times and six deviations."""
    s, t, _ = triangle(9)
    x = torch.linspace(-5, 6, 221, dtype=s.dtype)
    n = len(x)
    states = x.repeat(len(s))[:, None]
    slope = X.jvp(s.repeat_interleave(n), t.repeat_interleave(n), states, torch.ones_like(states))
    return slope.detach().abs().max()


@pytest.mark.parametrize("size", SIZES)
def test_the_excess_bounds_the_distance(check: Check, size: float) -> None:
    for theta in starts(4):
        X = pairs().family(size * theta)
        D, M, slope = float(pairs().distance(X).detach()), one_sided_constant(X), largest_slope(X)
        lagrangian = float(2 * (2 * M).exp()) * excess("lsd", X)
        eulerian = float((2 * slope**2).clamp(min=1)) * excess("esd", X)
        check.at_most(D / lagrangian, 1.0, where=f"for lsd at size {size}")
        check.at_most(D / eulerian, 1.0, where=f"for esd at size {size}")


@EVERY
def test_the_excess_is_positive_and_quadratic(check: Check, name: str) -> None:
    for theta in starts(3, seed=10):
        values = torch.tensor([excess(name, pairs().family(size * theta)) for size in (4e-2, 2e-2, 1e-2)])
        assert (values > 1e-6).all()
        check.order(values, torch.tensor([4e-2, 2e-2, 1e-2]), expected=2.0)


@EVERY
def test_from_random_starts_minimization_arrives_at_the_flow_map(check: Check, name: str) -> None:
    for theta in starts(4, seed=20):
        found = minimize(total(name), pairs().family(theta))
        check.vanishes(found.theta, ARRIVED)
        check.at_most(abs(excess(name, found)), 1e-9)


@EVERY
def test_the_residual_alone_is_minimal_at_every_flow_map(check: Check, name: str) -> None:
    other = problems.gaussian([-1.0], 1.5, pairs().I).X
    assert other is not None
    check.at_most(float(off_diagonal(name)(other)), 1e-20)
    assert excess(name, other) > 0.1
    assert pairs().distance(other) > 0.1


@EVERY
def test_flow_matching_alone_is_minimal_at_every_map_with_that_diagonal(check: Check, name: str) -> None:
    bent = Perturbed(pairs().X, 0.3)
    straight = FlowMap.from_function(
        lambda s, t, x: bent(s, t, x) - (t - s)[:, None] * 0.3 * (torch.sin(x + 3 * s[:, None] + 0.5) + 0.5)
    )  # the perturbation without its diagonal
    check.vanishes(on_diagonal()(straight) - on_diagonal()(pairs().X), 1e-12)
    assert excess(name, straight) > 1e-4
    assert pairs().distance(straight) > 1e-4


@EVERY
def test_negative_control(name: str) -> None:
    """Against samples of other data the minimizer is another map, by as much as they are wrong."""

    def shifted(e: Expectation, by: float) -> Expectation:
        return replace(e, x1=e.x1 + by)

    moved = []
    for by in (0.1, 0.05):
        matching = shifted(Expectation.over(diagonal()), by).loss("fm")
        rest = shifted(pairs(), by).loss(name, form="map", eta=0.0, stop_gradient=False)

        def wrong(X: FlowMap, matching: Loss = matching, rest: Loss = rest) -> Tensor:
            return matching(X) + rest(X)

        moved.append(minimize(wrong, pairs().family()).theta.detach().norm())
    assert moved[0] > 100 * ARRIVED
    assert abs(moved[0] / moved[1] - 2) < 0.2

r"""Converse of the Lagrangian equation: a map with identity whose residual is small is near the flow map.

With $r_{s,t}=\partial_t\hat X_{s,t}(x)-b_t(\hat X_{s,t}(x))$ and $s\le t$
$$|\hat X_{s,t}(x)-X_{s,t}(x)|\le e^{\int_s^t\mu}\,|\hat X_{s,s}(x)-x|
  +\int_s^te^{\int_\tau^t\mu_\sigma d\sigma}\,|r_{s,\tau}(x)|\,d\tau,$$
$\mu_\tau$ the largest eigenvalue of the symmetric part of $\nabla b_\tau$ over the segment between
$\hat X_{s,\tau}(x)$ and $X_{s,\tau}(x)$: the distance grows at most at the rate $\mu|\cdot|+|r|$. For $s>t$ the same
with $-b$. In one dimension, with a residual of one sign and a field that is affine in the state, both sides are equal.

Hypotheses: $b$ continuous in $t$ and once continuously differentiable in $x$ (one-sided Lipschitz for the bound
alone), $\hat X$ differentiable in $t$. Without $\hat X_{s,s}=\mathrm{id}$ the residual says nothing:
$X_{s,t}(x+c)$ has none.

Source: 2505.18825 Prop. 2.2 (8), (45); Dahlquist 1958; Hairer, Nørsett, Wanner, Solving ODEs I, Thm. I.10.6.
"""

from flowops import FlowMap, residuals
from theory_checks.cases import CLOSED_FORM, size
from theory_checks.converses import (
    CLOSED,
    EVERY,
    QUADRATURE,
    Reference,
    bounds,
    bounds_in_single_precision,
    bounds_one_image,
    bounds_without_identity,
    distance,
    excess,
    is_broken_by_a_wrong_field,
    lagrangian_bound,
)
from theory_checks.verdicts import Check


@EVERY
def test_the_residual_bounds_the_distance(check: Check, reference: Reference) -> None:
    bounds(check, lagrangian_bound, reference)


@CLOSED
def test_without_identity_the_defect_at_the_start_is_carried_on(check: Check, reference: Reference) -> None:
    bounds_without_identity(check, lagrangian_bound, reference)


@CLOSED
def test_without_identity_the_residual_alone_says_nothing(check: Check, reference: Reference) -> None:
    r = reference
    moved = FlowMap.from_function(lambda s, t, x: r.X(s, t, x + 0.1))
    residual = residuals.lagrangian(moved, r.b, r.s, r.t, r.x)
    check.vanishes(residual, CLOSED_FORM, scale=1 + size(moved.dt(r.s, r.t, r.x)))
    assert distance(r, moved).min() > 0.01


def test_the_bound_is_attained(check: Check) -> None:
    check.vanishes(excess(lagrangian_bound), QUADRATURE)


def test_image_shaped_states_and_a_batch_of_one(check: Check) -> None:
    bounds_one_image(check, lagrangian_bound)


def test_single_precision(check: Check) -> None:
    bounds_in_single_precision(check, lagrangian_bound)


def test_negative_control() -> None:
    is_broken_by_a_wrong_field(lagrangian_bound)

r"""Converse of the Eulerian equation: a map with identity whose residual is small is near the flow map.

With $r_{s,t}(x)=\partial_s\hat X_{s,t}(x)+\nabla\hat X_{s,t}(x)\,b_s(x)$ and the true path $x_\tau=X_{s,\tau}(x)$
$$|\hat X_{s,t}(x)-X_{s,t}(x)|\le|\hat X_{t,t}(x_t)-x_t|+\Big|\int_s^t|r_{\tau,t}(x_\tau)|\,d\tau\Big|,$$
since $\frac{d}{d\tau}\hat X_{\tau,t}(x_\tau)=r_{\tau,t}(x_\tau)$. The constant is one, whatever $b$: the residual
stands at the true path, and nothing has to be carried on. In one dimension, with a residual of one sign, both sides are
equal.

Hypotheses: $b$ continuous in $t$ and locally Lipschitz in $x$, so that the paths exist and are unique, and $\hat X$
once continuously differentiable in $(s,x)$; for $X$ itself to have a residual, $b$ once continuously differentiable in
$x$. Without $\hat X_{t,t}=\mathrm{id}$ the residual says nothing: the equation is linear, and $\varphi(X_{s,t}(x))$ has
none for any $\varphi$.

Source: 2505.18825 Prop. 2.2 (9), (46).
"""

import torch

from flowops import FlowMap, residuals
from theory_checks.cases import CLOSED_FORM, size
from theory_checks.converses import (
    CLOSED,
    EVERY,
    Reference,
    bounds,
    bounds_in_single_precision,
    bounds_one_image,
    bounds_without_identity,
    distance,
    eulerian_bound,
    excess,
    is_broken_by_a_wrong_field,
)
from theory_checks.verdicts import Check


@EVERY
def test_the_residual_bounds_the_distance(check: Check, reference: Reference) -> None:
    bounds(check, eulerian_bound, reference)


@CLOSED
def test_without_identity_the_defect_at_the_end_is_added(check: Check, reference: Reference) -> None:
    bounds_without_identity(check, eulerian_bound, reference)


@CLOSED
def test_without_identity_the_residual_alone_says_nothing(check: Check, reference: Reference) -> None:
    r = reference
    bent = FlowMap.from_function(lambda s, t, x: torch.tanh(r.X(s, t, x)))
    residual = residuals.eulerian(bent, r.b, r.s, r.t, r.x)
    check.vanishes(residual, CLOSED_FORM, scale=1 + size(bent.ds(r.s, r.t, r.x)))
    assert distance(r, bent).max() > 0.01


def test_the_bound_is_attained(check: Check) -> None:
    check.vanishes(excess(eulerian_bound), 1e-9)  # the residual is constant


def test_image_shaped_states_and_a_batch_of_one(check: Check) -> None:
    bounds_one_image(check, eulerian_bound)


def test_single_precision(check: Check) -> None:
    bounds_in_single_precision(check, eulerian_bound)


def test_negative_control() -> None:
    is_broken_by_a_wrong_field(eulerian_bound)

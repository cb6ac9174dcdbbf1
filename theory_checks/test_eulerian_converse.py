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
from theory_checks.controls import Shifted
from theory_checks.converses import (
    CLOSED,
    EVERY,
    QUADRATURE,
    Reference,
    broken_by,
    distance,
    eulerian_bound,
    excess,
    in_single_precision,
    of_one_image,
    share,
)
from theory_checks.method_families import Family
from theory_checks.verdicts import Check


@EVERY
def test_the_residual_bounds_the_distance(check: Check, reference: Reference) -> None:
    for delta in reference.deltas:
        wrong = Family(reference.X, reference.size, delta)
        check.at_most(share(eulerian_bound, reference, wrong), 1 + QUADRATURE, where=f"at delta = {delta}")


@CLOSED
def test_without_identity_the_defect_at_the_end_is_added(check: Check, reference: Reference) -> None:
    for delta in (0.1, 1e-3):
        check.at_most(share(eulerian_bound, reference, Shifted(reference.X, delta)), 1 + QUADRATURE)


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
    check.at_most(of_one_image(eulerian_bound), 1 + QUADRATURE)


def test_single_precision(check: Check) -> None:
    check.at_most(in_single_precision(eulerian_bound), 1 + QUADRATURE)


def test_negative_control() -> None:
    """Against a field that is wrong by delta the residual misses as much, and the bound breaks."""
    for delta in (0.1, 0.05, 0.01):
        assert broken_by(eulerian_bound, delta) > 1 + QUADRATURE, delta

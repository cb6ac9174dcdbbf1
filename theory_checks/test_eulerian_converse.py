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
from torch import Tensor

from flowops import FlowMap, VelocityField, problems, residuals
from theory_checks.cases import CLOSED_FORM, size
from theory_checks.controls import Shifted
from theory_checks.converses import CLOSED, EVERY, QUADRATURE, Reference, eulerian_bound, norm, references, share_of
from theory_checks.method_families import Family
from theory_checks.verdicts import Check


def share(r: Reference, wrong: FlowMap, b: VelocityField | None = None) -> Tensor:
    """The largest quotient of the distance and its bound over the states of a reference."""
    distance = norm(wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x))
    return share_of(distance, eulerian_bound(b or r.b, r.X, wrong, r.s, r.t, r.x))


@EVERY
def test_the_residual_bounds_the_distance(check: Check, reference: Reference) -> None:
    for delta in reference.deltas:
        wrong = Family(reference.X, reference.size, delta)
        check.at_most(float(share(reference, wrong)), 1 + QUADRATURE, where=f"at delta = {delta}")


@CLOSED
def test_without_identity_the_defect_at_the_end_is_added(check: Check, reference: Reference) -> None:
    for delta in (0.1, 1e-3):
        check.at_most(float(share(reference, Shifted(reference.X, delta))), 1 + QUADRATURE)


@CLOSED
def test_without_identity_the_residual_alone_says_nothing(check: Check, reference: Reference) -> None:
    r = reference
    bent = FlowMap.from_function(lambda s, t, x: torch.tanh(r.X(s, t, x)))
    residual = residuals.eulerian(bent, r.b, r.s, r.t, r.x)
    check.vanishes(residual, CLOSED_FORM, scale=1 + size(bent.ds(r.s, r.t, r.x)))
    assert norm(bent(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)).max() > 0.01


def one_sided() -> tuple[Reference, FlowMap]:
    """A scalar equation, and a map whose residual has one sign."""
    r = next(one for one in references() if one.name == "time-dependent")
    return r, FlowMap.from_function(lambda s, t, x: r.X(s, t, x) + 0.2 * (t - s)[:, None])


def test_the_bound_is_attained(check: Check) -> None:
    r, wrong = one_sided()
    distance = norm(wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x))
    bound = eulerian_bound(r.b, r.X, wrong, r.s, r.t, r.x)
    check.vanishes((bound - distance)[distance > 0] / distance[distance > 0], 1e-9)  # the residual is constant


def test_image_shaped_states_and_a_batch_of_one(check: Check) -> None:
    r = references()[-1]
    one = Reference(r.name, r.b, r.X, r.x[:1], r.s[:1], r.t[:1])
    check.at_most(float(share(one, Family(r.X, r.size, 0.1))), 1 + QUADRATURE)


def test_single_precision(check: Check) -> None:
    problem = problems.rotation(2.0)
    assert problem.X is not None
    s, t, x = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.5], [-0.3, 0.8]])
    wrong = Family(problem.X, 2, 0.1)
    distance = norm(wrong(s, t, x) - problem.X(s, t, x))
    bound = eulerian_bound(problem.b, problem.X, wrong, s, t, x)
    assert bound.dtype == torch.float32
    check.at_most(float(share_of(distance, bound)), 1 + QUADRATURE)


def test_negative_control() -> None:
    """Against a field that is wrong by delta the residual misses as much, and the bound breaks."""
    r, wrong = one_sided()
    for delta in (0.1, 0.05, 0.01):
        other = r.b + VelocityField.from_function(lambda _, x, d=delta: torch.full_like(x, 0.2 * d))
        forward = Reference(r.name, r.b, r.X, r.x[:1], r.s[:1], r.t[:1])
        assert share(forward, wrong, other) > 1 + QUADRATURE, delta

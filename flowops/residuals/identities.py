r"""The identities of a flow map $X_{s,t}$ itself."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_time, expand_times
from flowops._derivatives import records
from flowops._types import TimeLike
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.maps.quadrature import along


class Sides(NamedTuple):
    """The two sides of an identity, of one shape."""

    left: Tensor
    right: Tensor


Residual: TypeAlias = Any
"""The difference of the two sides, a tensor; with `parts=True` the `Sides` themselves."""


def identity(X: FlowMap, t: TimeLike, x: Tensor, *, parts: bool = False) -> Residual:
    r"""$X_{t,t}(x)-x$.

    Cost: one call of `X`. Source: 2505.18825 eq. (4) at $s=t$. Checked by `theory_checks/test_identity.py`.
    """
    check_state(x)
    t = expand_time(t, x)
    return finish(X(t, t, x), x, parts)


def tangent(
    X: FlowMap, b: VelocityField, t: TimeLike, x: Tensor, *, parts: bool = False, frozen: bool = False
) -> Residual:
    r"""$\lim_{s\to t}\partial_tX_{s,t}(x)-b_t(x)$: the field that `X` implies against `b`.

    `frozen=True` takes $b_t(x)$ as a constant of the parameters. Cost: one forward-mode pass (one call for a
    `LearnedMap`) and one call of `b`. Source: 2505.18825 Lemma 2.1, eq. (5). Checked by
    `theory_checks/test_tangent_condition.py`.
    """
    left = X.velocity()(t, x)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        right = b(t, x)
    return Sides(left, right) if parts else left - right


def lagrangian(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$\partial_tX_{s,t}(x)-b_t(X_{s,t}(x))$: the end time moves, the start point `x` (a state at time `s`) is fixed.

    `frozen=True` takes $b_t(X_{s,t}(x))$ as a constant of the parameters. Cost: one forward-mode pass through `X`, one
    call of `b`. Source: 2505.18825 Prop. 2.2 (8), (45); 2406.07507.
    Checked by `theory_checks/test_lagrangian_equation.py`.
    """
    value, dt = X.value_and_dt(s, t, x)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        right = b(t, value)
    return finish(dt, right, parts)


def eulerian(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
    target: FlowMap | None = None,
) -> Residual:
    r"""$\partial_sX_{s,t}(x)+\nabla X_{s,t}(x)\,b_s(x)$: the start moves along the field, the end stays.

    The sides are $\partial_sX$ and $-\nabla X\,b_s$; `frozen=True` takes the latter as a constant of the parameters,
    `target` is another map that it is taken of. Cost: one augmented forward-mode pass (two with `parts=True`), one
    call of `b`. Source: 2505.18825 Prop. 2.2 (9), (46); 2406.07507. Checked by
    `theory_checks/test_eulerian_equation.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    if not (parts or frozen or target is not None):
        return X.material_derivative(s, t, x, b(s, x))
    left = X.ds(s, t, x)
    with torch.set_grad_enabled(records(not frozen)):
        right = -(X if target is None else target).jvp(s, t, x, b(s, x))
    return finish(left, right, parts)


def semigroup(X: FlowMap, s: TimeLike, u: TimeLike, t: TimeLike, x: Tensor, *, parts: bool = False) -> Residual:
    r"""$X_{u,t}(X_{s,u}(x))-X_{s,t}(x)$, for times in any order.

    Cost: three calls of `X`. Source: 2505.18825 Prop. 2.2 (10), (47). Checked by `theory_checks/test_semigroup.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    u = expand_time(u, x, "u")
    return finish(X(u, t, X(s, u, x)), X(s, t, x), parts)


def inverse(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, parts: bool = False) -> Residual:
    r"""$X_{t,s}(X_{s,t}(x))-x$.

    Cost: two calls of `X`. Source: 2505.18825 after (10). Checked by `theory_checks/test_inverse.py`.
    """
    return finish(X(t, s, X(s, t, x)), x, parts)


def liouville(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    nodes: int = 32,
    parts: bool = False,
) -> Residual:
    r"""$\log|\det\nabla X_{s,t}(x)|-\int_s^t(\nabla\!\cdot b_\tau)(X_{s,\tau}(x))\,d\tau$, shape `[batch]`.

    The left side is the determinant of the Jacobian, whatever rule the map itself has for its logarithm. It has a
    relative error of about the condition number of the Jacobian times that of its entries: where directions contract by
    factors whose quotient nears the reciprocal of the precision, it says nothing.

    Args:
        X: the map.
        b: the field.
        s: start time.
        t: end time.
        x: state at time `s`.
        nodes: Gauss-Legendre points in $\tau$; the quadrature error falls geometrically for smooth fields.
        parts: return both sides.

    Cost: one Jacobian; one call of `X` and one exact divergence of `b` on a batch `nodes` times as large.
    Source: Liouville's formula; 2303.08797. Checked by `theory_checks/test_liouville.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    path = along(X, s, t, x, nodes)
    divergence = b.subset(path.rows).divergence(path.times, path.states)
    return finish(FlowMap.log_abs_det(X, s, t, x), ((t - s) * path.mean(divergence)).to(x.dtype), parts)


def finish(left: Tensor, right: Tensor, parts: bool) -> Residual:
    """The two sides, or their difference."""
    return Sides(left, right) if parts else left - right

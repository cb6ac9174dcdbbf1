r"""The identities of a flow map in its average velocity $v_{s,t}(x)=(X_{s,t}(x)-x)/(t-s)$.

The left side is $v_{s,t}(x)$, the right side what the identity predicts it to be. `frozen=True` takes the right side as
a constant of the parameters (a stop-gradient), which is cheaper than detaching it afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_time, expand_times, per_event
from flowops._derivatives import draws_masks, records
from flowops._types import TimeLike
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.residuals.identities import Residual, finish


def eulerian_velocity(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$v_{s,t}(x)-\big(b_s(x)+(t-s)(\partial_sv_{s,t}(x)+\nabla v_{s,t}(x)\,b_s(x))\big)$, the MeanFlow identity.

    It is $-(\partial_sX_{s,t}(x)+\nabla X_{s,t}(x)\,b_s(x))$: the product rule turns the right side into $v_{s,t}$ plus
    the material derivative of $X$, so nothing is divided by $t-s$.

    Cost: one forward-mode pass through $v$, one call of `b`. With `frozen=True` outside `torch.compile` the pass keeps
    no graph and $v$ is called once more; a network with active dropout takes one pass, so that both sides share a mask.
    Source: 2505.18825 (36); 2505.13447 (6). Checked by `theory_checks/test_average_velocity_equations.py`.
    """
    return finish(*_from_the_start(X, b, *_times(s, t, x), x, frozen), parts)


def lagrangian_velocity(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$v_{s,t}(x)-\big(b_t(X_{s,t}(x))-(t-s)\,\partial_tv_{s,t}(x)\big)=\partial_tX_{s,t}(x)-b_t(X_{s,t}(x))$.

    Cost: one forward-mode pass and one call through `X`, one call of `b`; the pass keeps no graph with `frozen=True`.
    Source: 2505.18825 (8) with (6); 2506.14603 (AYF-LMD). Checked by
    `theory_checks/test_average_velocity_equations.py`.
    """
    s, t = _times(s, t, x)
    v = X.average_velocity(s, t, x)
    return finish(v, _from_the_end(X, b, s, t, x, v, frozen), parts)


def trapezoid_velocity(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$v-\big(\tfrac12(b_s+b_t(X))+\tfrac{t-s}2(\partial_sv+\nabla v\,b_s-\partial_tv)\big)$, $v,X$ at $(s,t,x)$.

    The mean of `eulerian_velocity` and `lagrangian_velocity`: the trapezoid rule for $\int_s^tb_\tau(x_\tau)\,d\tau$
    and what it lacks. At the flow map that is $O((t-s)^2)$, where either of the other two adds $O(t-s)$ to its $b$.

    Cost: two forward-mode passes, two calls of `b`, and with `frozen=True` a call of $v$. Source: Zhu, A second-order
    MeanFlow (note, 2025). Checked by `theory_checks/test_trapezoid_correction.py`.
    """
    s, t = _times(s, t, x)
    v, start = _from_the_start(X, b, s, t, x, frozen)
    return finish(v, (start + _from_the_end(X, b, s, t, x, v, frozen)) / 2, parts)


def semigroup_velocity(
    X: FlowMap,
    s: TimeLike,
    t: TimeLike,
    gamma: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$v_{s,t}(x)-\big((1-\gamma)v_{s,u}(x)+\gamma v_{u,t}(X_{s,u}(x))\big)$ at $u=\gamma s+(1-\gamma)t$.

    It is the semigroup residual divided by $s-t$, without the division.

    Cost: three calls of $v$, two of them without a graph with `frozen=True`. Source: 2505.18825 (22), (90)-(92).
    Checked by `theory_checks/test_average_velocity_equations.py`.
    """
    s, t = _times(s, t, x)
    gamma = expand_time(gamma, x, "gamma")
    u = torch.lerp(t, s, gamma.to(s.dtype))
    with torch.set_grad_enabled(records(not frozen)):
        first = X.average_velocity(s, u, x)
        middle = (x + per_event(u - s, x) * first).to(x.dtype)
        second = X.average_velocity(u, t, middle)
        right = torch.lerp(first, second, per_event(gamma, x).to(x.dtype))
    return finish(X.average_velocity(s, t, x), right, parts)


def _from_the_start(
    X: FlowMap, b: VelocityField, s: Tensor, t: Tensor, x: Tensor, frozen: bool
) -> tuple[Tensor, Tensor]:
    r"""$v_{s,t}(x)$ and $b_s(x)+(t-s)(\partial_sv+\nabla v\,b_s(x))$."""
    with torch.set_grad_enabled(records(not frozen)):
        velocity = b(s, x)
    if not frozen or torch.compiler.is_compiling() or draws_masks(X):
        v, derivative = X.average_velocity_and_material_derivative(s, t, x, velocity)
        right = v + derivative
        return v, right.detach() if frozen else right
    with torch.no_grad():
        v, derivative = X.average_velocity_and_material_derivative(s, t, x, velocity)
        right = v + derivative
    return X.average_velocity(s, t, x), right


def _from_the_end(X: FlowMap, b: VelocityField, s: Tensor, t: Tensor, x: Tensor, v: Tensor, frozen: bool) -> Tensor:
    r"""$b_t(X_{s,t}(x))-(t-s)\,\partial_tv$."""
    with torch.set_grad_enabled(records(not frozen)):
        value, dt = X.value_and_dt(s, t, x)
        return (v.detach() if frozen else v) - (dt - b(t, value))


def _times(s: TimeLike, t: TimeLike, x: Tensor) -> tuple[Tensor, Tensor]:
    check_state(x)
    return expand_times(s, t, x)

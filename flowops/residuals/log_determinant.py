r"""The identities of the rate $D_{s,t}$ at which a joint map claims to change volumes.

$(x,\ell)\mapsto(X_{s,t}(x),\ \ell+(t-s)D_{s,t}(x))$ is the flow map of $\dot x=b_t(x),\ \dot\ell=\nabla\!\cdot b_t(x)$
where $X$ is that of $b$ and the claim is true. Each identity here is the last entry of one of that map in its average
velocity, $(v_{s,t},D_{s,t})$. `frozen=True` takes the right side as a constant of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_time
from flowops._derivatives import value_and_jvp
from flowops._types import TimeLike
from flowops.fields import AugmentedField, VelocityField
from flowops.fields.augmented import joined, separated
from flowops.fields.likelihood import Base, base_log_prob
from flowops.maps import JointMap
from flowops.residuals.average_velocity import eulerian_velocity, lagrangian_velocity, semigroup_velocity
from flowops.residuals.identities import Residual, Sides, finish, tangent


def tangent_log_det(
    X: JointMap, b: VelocityField, t: TimeLike, x: Tensor, *, parts: bool = False, frozen: bool = False
) -> Residual:
    r"""$D_{t,t}(x)-\nabla\!\cdot b_t(x)$, `[batch]`.

    Cost: one call of `X`, one exact divergence of `b`. Source: 2512.02636. Checked by
    `theory_checks/test_joint_map.py`.
    """
    check_state(x)
    return _last(tangent, X, x, _augmented(b, x), t, joined(x), parts=parts, frozen=frozen)


def lagrangian_log_det(
    X: JointMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$D_{s,t}(x)-\big(\nabla\!\cdot b_t(X_{s,t}(x))-(t-s)\,\partial_tD_{s,t}(x)\big)$, `[batch]`.

    Cost: that of `lagrangian_velocity`, and one exact divergence of `b`. Source: 2512.02636. Checked by
    `theory_checks/test_joint_map.py`.
    """
    check_state(x)
    return _last(lagrangian_velocity, X, x, _augmented(b, x), s, t, joined(x), parts=parts, frozen=frozen)


def eulerian_log_det(
    X: JointMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$D_{s,t}(x)-\big(\nabla\!\cdot b_s(x)+(t-s)(\partial_s+b_s(x)\cdot\nabla)D_{s,t}(x)\big)$, `[batch]`.

    $X$ itself does not enter. Cost: that of `eulerian_velocity`, and one exact divergence of `b`. Source: 2512.02636.
    Checked by `theory_checks/test_joint_map.py`.
    """
    check_state(x)
    return _last(eulerian_velocity, X, x, _augmented(b, x), s, t, joined(x), parts=parts, frozen=frozen)


def semigroup_log_det(
    X: JointMap,
    s: TimeLike,
    t: TimeLike,
    gamma: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
    frozen: bool = False,
) -> Residual:
    r"""$D_{s,t}(x)-\big((1-\gamma)D_{s,u}(x)+\gamma D_{u,t}(X_{s,u}(x))\big)$ at $u=\gamma s+(1-\gamma)t$, `[batch]`.

    Cost: three calls of `X`. Source: 2512.02636. Checked by `theory_checks/test_joint_map.py`.
    """
    check_state(x)
    return _last(semigroup_velocity, X, x, s, t, gamma, joined(x), parts=parts, frozen=frozen)


def log_density(
    X: JointMap, b: VelocityField, t: TimeLike, x: Tensor, *, base: Base | None = None, parts: bool = False
) -> Residual:
    r"""$r_t(x)=(\partial_t+b_t\cdot\nabla)\log\hat\rho_t(x)+\nabla\!\cdot b_t(x)$, `[batch]`, of a density in one step.

    The continuity equation of `X.log_prob`, the density that a joint map claims. Its integral along a trajectory is
    the error there, $\log\hat\rho_1(x_1)-\log\rho_1(x_1)=\int_0^1r_t(x_t)\,dt$, so that without trajectories, on
    samples of an interpolant, $\mathbb E|\log\hat\rho_1-\log\rho_1|^2\le\int_0^1\mathbb E|r_t(I_t)|^2dt$.

    Args:
        X: the map.
        b: the field.
        t: time of `x`.
        x: state.
        base: density at time 0; standard normal if not given.
        parts: return both sides.

    Cost: one augmented forward-mode pass and one call of `X`, one exact divergence of `b`. Checked by
    `theory_checks/test_joint_log_density_error_is_its_residual.py`.
    """
    check_state(x)
    t = expand_time(t, x)
    Y, y, zero = X.augmented(x.shape[1:]), joined(x), torch.zeros_like(t)
    start, _ = separated(Y(t, zero, y), x.shape[1:])
    moved, change = separated(Y.material_derivative(t, zero, y, joined(b(t, x))), x.shape[1:])
    risen = value_and_jvp(lambda z: base_log_prob(base, z), (start,), (moved,))[1]
    return finish(risen + change, -b.divergence(t, x), parts)


def _augmented(b: VelocityField, x: Tensor) -> AugmentedField:
    return AugmentedField(b, x.shape[1:])


def _last(residual: Callable[..., Sides], X: JointMap, x: Tensor, *operands: Any, parts: bool, **how: Any) -> Residual:
    """The last entry of a residual of the augmented map."""
    left, right = residual(X.augmented(x.shape[1:]), *operands, parts=True, **how)
    return finish(left[:, -1], right[:, -1], parts)

r"""The identity behind sampling from tilted laws with a flow map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._arguments import check_per_sample, check_state, expand_time
from flowops._derivatives import value_and_jvp
from flowops._types import State, TimeLike
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.residuals.identities import Residual, finish


def tilting(
    X: FlowMap,
    b: VelocityField,
    reward: Callable[[State], Tensor],
    t: TimeLike,
    x: Tensor,
    *,
    parts: bool = False,
) -> Residual:
    r"""$(\partial_t+b_t(x)\cdot\nabla)\,r_t(x)-r(X_{t,1}(x))$ with $r_t(x)=t\,r(X_{t,1}(x))$, `[batch]`.

    It is $t\,\nabla r(X_{t,1})\cdot(\partial_tX_{t,1}+\nabla X_{t,1}b_t)$, the Eulerian residual seen by the reward.
    Where it vanishes, particles that follow the flow and gather $r(X_{t,1}(x_t))\,dt$ in their logarithmic weights
    stand for $\rho_te^{r_t}$ at all times.

    Args:
        X: the map.
        b: the field.
        reward: $r$, `x -> [batch]`, of states at time 1.
        t: time of `x`.
        x: state.
        parts: return both sides.

    Raises:
        ValueError: unless the reward gives one number per sample.

    Cost: one augmented forward-mode pass and one call through `X` and the reward, one call of `b`. Source: 2511.22688.
    Checked by `theory_checks/test_tilting.py`.
    """
    check_state(x)
    t = expand_time(t, x)

    def tilt(q: Tensor, y: Tensor) -> Tensor:
        return q * check_per_sample(reward(X(q, 1.0, y)), y, "reward")

    left = value_and_jvp(tilt, (t, x), (torch.ones_like(t), b(t, x)))[1]
    return finish(left, check_per_sample(reward(X(t, 1.0, x)), x, "reward").to(left.dtype), parts)

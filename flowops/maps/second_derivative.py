r"""The second derivative of a flow map in its state."""

from __future__ import annotations

from torch import Tensor

from flowops._arguments import check_like, check_state, expand_times
from flowops._derivatives import value_and_jvp
from flowops._types import State, TimeLike
from flowops.maps.flow_map import FlowMap


def second_derivative(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor, v: Tensor) -> State:
    r"""$\nabla^2X_{s,t}(x)[u,v]$, symmetric in $u$ and $v$, the shape of `x`.

    For the flow of $b$ it solves the second variational equation $\dot w=\nabla^2b_\tau[\nabla X u,\nabla X v]+\nabla
    b_\tau w$ from $w=0$. A `SolutionOperator` is differentiated through the accepted steps of the first one: nothing is
    differenced, and `rtol` bounds the error.

    Cost: one forward-mode pass through `X.jvp`. Source: Hairer, Nørsett, Wanner, Solving ODEs I, §I.14. Checked by
    `theory_checks/test_second_variation.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    check_like(v, x, "v")
    return value_and_jvp(lambda y: X.jvp(s, t, y, u), (x,), (v,))[1]

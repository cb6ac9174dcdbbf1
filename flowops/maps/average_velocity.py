r"""The average velocity $v_{s,t}(x)=(X_{s,t}(x)-x)/(t-s)$ of a map that knows only its values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flowops._arguments import per_event
from flowops._types import State, Times

if TYPE_CHECKING:
    from flowops.maps.flow_map import FlowMap

_GAUSS_POINTS = (0.5 - 12**-0.5, 0.5 + 12**-0.5)  # two-point Gauss-Legendre on [0, 1], error O(h^4)


def quotient_average_velocity(X: FlowMap, s: Times, t: Times, x: State) -> State:
    r"""The quotient where $|t-s|$ is large enough for its digits, else the mean of $\partial_tX$ by two Gauss points.

    The quotient loses $\epsilon/|h|$ by cancellation, the Gauss rule $h^4$ by truncation: they meet at
    $|h|=\epsilon^{1/5}$. Both branches are finite everywhere, so that no NaN enters a gradient.
    """
    h = t - s
    near = h.abs() < torch.finfo(x.dtype).eps ** 0.2
    far_t = torch.where(near, torch.where(s < 0.5, s + 0.5, s - 0.5), t)  # stays inside [0, 1]
    quotient = (X(s, far_t, x) - x) / per_event(far_t - s, x).to(x.dtype)
    near_h = torch.where(near, h, 0)
    mean = 0.5 * sum(X.dt(s, s + c * near_h, x) for c in _GAUSS_POINTS)
    return torch.where(per_event(near, x), mean, quotient)

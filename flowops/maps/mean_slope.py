r"""The mean slope of a function of time between two times, with its limit where they are equal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._derivatives import is_concrete
from flowops._types import Times

_GAUSS = ((0.5 - 0.15**0.5, 5 / 18), (0.5, 4 / 9), (0.5 + 0.15**0.5, 5 / 18))  # points on [0, 1] and weights: O(h^6)


def mean_slope(
    f: Callable[[Times], Tensor],
    slope: Callable[[Times], Tensor],
    s: Times,
    t: Times,
    start: Tensor,
    reach: Tensor | float = 1.0,
) -> Tensor:
    r"""$(f(t)-f(s))/(t-s)$ for $f(s)$ = `start`, $\dot f(s)$ at $s=t$; no 0/0 in value or gradient.

    The quotient loses $\epsilon/|t-s|$ by cancellation. Below $|t-s|=\epsilon^{1/4}$ three Gauss points of the slope
    take its place; below that part of `reach`, over which the slope is smooth, if that is less. Both are finite
    everywhere, so that no NaN enters a gradient. Where the lengths can be looked at for nothing and none is short, the
    quotient alone is evaluated.
    """
    h = t - s
    near = (h.abs() < torch.finfo(start.dtype).eps ** 0.25 * reach) | (h == 0)
    if is_concrete(near) and not bool(near.any()):
        return (f(t) - start) / per_event(h, start).to(start.dtype)
    far_t = torch.where(near, torch.where(s < 0.5, s + 0.5, s - 0.5), t)  # stays inside [0, 1]
    quotient = (f(far_t) - start) / per_event(far_t - s, start).to(start.dtype)
    near_h = torch.where(near, h, 0)
    mean = sum(weight * slope(s + point * near_h) for point, weight in _GAUSS)
    return torch.where(per_event(near, start), mean, quotient)

r"""Between two noises: along the great circle, on which the norm stays that of noise.

In $d$ dimensions $|x|\approx\sqrt d$ for $x\sim N(0,\mathrm{id})$, up to a deviation of about 0.7. The straight line
between two of them has its middle at $\sqrt{d/2}$, where the base has no mass and a map has never been.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import check_like, check_state, expand_time, per_event


def slerp(x: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
    r"""The state at the fraction $w$ of the arc from $x$ to $y$, whose norm is $(1-w)|x|+w|y|$; $x$ at 0, $y$ at 1.

    $$ \Big((1-w)|x|+w|y|\Big)\Big(\frac{\sin((1-w)\theta)}{\sin\theta}\frac x{|x|}
       +\frac{\sin(w\theta)}{\sin\theta}\frac y{|y|}\Big),\qquad\cos\theta=\frac{x\cdot y}{|x||y|} $$

    Hypothesis: the base is $N(0,c\,\mathrm{id})$. The direction is then uniform on the sphere again, by rotations, and
    the norm where that of noise is; for another base take `torch.lerp`. Small weights towards fresh noise are
    variations of a sample.

    Args:
        x: states `[batch, *event]`.
        y: as many.
        weight: $w$, a number or one per sample; outside [0, 1] the arc goes on.

    Raises:
        ValueError: for states that vanish or are opposite, between which no arc is the shortest, and for others that do
            not fit.

    Source: Shoemake 1985; White 1609.04468 for noise.
    """
    check_state(x, "x")
    check_like(y, x, "y")
    w = expand_time(weight, x, "weight")
    flat, other = x.flatten(1), y.flatten(1)
    norms = [value.norm(dim=1, keepdim=True) for value in (flat, other)]
    if bool((torch.cat(norms) == 0).any()):
        raise ValueError("`x` and `y` must not vanish, since zero has no direction; draw others.")
    one, two = flat / norms[0], other / norms[1]
    # the angle by both chords: a cosine alone knows small angles and those near pi to half of the digits only
    apart, sum_ = (one - two).norm(dim=1, keepdim=True), (one + two).norm(dim=1, keepdim=True)
    theta, column = 2 * torch.atan2(apart, sum_), w[:, None]
    if bool((sum_ <= 4 * torch.finfo(x.dtype).eps).any()):
        raise ValueError("`x` and `y` must not be opposite, between which no arc is the shortest; take torch.lerp.")
    near = theta < torch.finfo(x.dtype).eps ** 0.5  # where the arc is a line to all digits
    sine = torch.where(near, 1.0, theta.sin())
    first = torch.where(near, 1 - column, ((1 - column) * theta).sin() / sine)
    second = torch.where(near, column, (column * theta).sin() / sine)
    length = (1 - column) * norms[0] + column * norms[1]
    found = (length * (first * one + second * two)).reshape(x.shape)
    at = per_event(w, x)
    return torch.where(at == 0, x, torch.where(at == 1, y, found))

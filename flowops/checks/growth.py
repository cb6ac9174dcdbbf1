r"""How errors grow: the size of $\nabla X$ along a trajectory and of $\nabla b$, from values alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops.fields import VelocityField
from flowops.maps import FlowMap

_DIRECTIONS = 8
_MIDDLES = (0.0, 1 / 3, 2 / 3)


def size(x: Tensor) -> Tensor:
    """The largest component of each sample, `[batch]`."""
    return x.detach().abs().reshape(len(x), -1).amax(1) if x[0].numel() else x.new_zeros(len(x))


def stretching(f: Callable[[Tensor, Tensor], Tensor], x: Tensor, seed: int) -> Tensor:
    r"""About $\|\nabla f(x)\|_F$ of each sample, `[batch]`, by forward differences of `f(rows, states)`.

    Along every coordinate of up to eight, along eight random orthonormal directions of more, whose mean square is
    right in expectation.
    """
    n, d = len(x), x[0].numel()
    k = min(d, _DIRECTIONS)
    generator = torch.Generator().manual_seed(seed)
    frame = torch.eye(d, dtype=torch.float64)
    if k < d:
        frame = torch.linalg.qr(torch.randn(d, k, dtype=torch.float64, generator=generator)).Q.mT
    h = torch.finfo(x.dtype).eps ** 0.4 * (1 + size(x))
    steps = per_event(h, x) * frame.to(x).reshape(k, 1, *x.shape[1:])
    states = torch.cat([x[None], x + steps]).reshape(-1, *x.shape[1:])
    values = f(torch.arange(n).repeat(k + 1), states).detach().reshape(k + 1, n, -1)
    slopes = (values[1:] - values[:1]) / h[:, None]
    return ((d / k) * slopes.square().sum((0, 2))).sqrt().nan_to_num(nan=torch.inf)


def growth(X: FlowMap, s: Tensor, t: Tensor, x: Tensor, seed: int) -> Tensor:
    r"""What an error of a unit of the state's size, made somewhere between $s$ and $t$, may become at $t$, `[batch]`.

    $1+|X_{s,t}(x)|+\max_\tau\|\nabla X_{\tau,t}(x_\tau)\|_F\,(1+|x_\tau|)$ over three times $\tau$ on the way.
    """
    found = []
    for share in _MIDDLES:
        tau = torch.lerp(s, t, share)
        state = X(s, tau, x).detach() if share else x
        slope = stretching(lambda rows, y, tau=tau: X.subset(rows)(tau[rows], t[rows], y), state, seed)  # type: ignore[misc]
        found.append(slope * (1 + size(state)))
    return 1 + size(X(s, t, x)) + torch.stack(found).amax(0)


def steepness(b: VelocityField, t: Tensor, x: Tensor, seed: int) -> Tensor:
    r"""About $\|\nabla b_t(x)\|_F$, `[batch]`."""
    return stretching(lambda rows, y: b.subset(rows)(t[rows], y), x, seed)

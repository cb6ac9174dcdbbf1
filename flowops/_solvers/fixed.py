"""Fixed-step Runge-Kutta methods, written without in-place assignment.

torchdiffeq's fixed-grid solvers write into a preallocated tensor, which `vmap` refuses; these few lines work inside
`vmap`, `jvp` and `torch.compile`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tableau:
    """An explicit Butcher tableau: stage times `c`, stage weights `a` (row i holds i entries), final weights `b`."""

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


TABLEAUS = {
    "euler": Tableau(1, (0.0,), ((),), (1.0,)),
    "midpoint": Tableau(2, (0.0, 1 / 2), ((), (1 / 2,)), (0.0, 1.0)),
    "heun": Tableau(2, (0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2)),
    "heun3": Tableau(3, (0.0, 1 / 3, 2 / 3), ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4)),
    "rk4": Tableau(
        4,
        (0.0, 1 / 2, 1 / 2, 1.0),
        ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
}


def integrate_fixed(
    rhs: Callable[[Tensor, Tensor], Tensor], y: Tensor, s: Tensor, t: Tensor, tableau: Tableau, steps: int
) -> Tensor:
    """`steps` equal steps per sample from `s` to `t` with the method of `tableau`, for `y` of shape `[batch, n]`."""
    h = ((t - s) / steps)[:, None].to(y.dtype)
    start = y
    for step in range(steps):
        slopes: list[Tensor] = []
        for c, row in zip(tableau.c, tableau.a, strict=True):
            stage = y + h * _combine(row, slopes) if any(row) else y
            slopes.append(rhs(torch.lerp(s, t, (step + c) / steps), stage))
        y = y + h * _combine(tableau.b, slopes)
    # A field that is not finite at s must not touch the samples with s = t; where it is, they keep their slope in t.
    return torch.where((h == 0) & ~y.isfinite(), start, y)


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, slopes, strict=True) if w]
    return sum(terms[1:], terms[0])

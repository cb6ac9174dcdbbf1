r"""Integrals along the way from $s$ to $t$, sample by sample, to a tolerance: Gauss-Legendre rules of rising order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowops._arguments import number, per_event, whole
from flowops._types import State, Times
from flowops.certificates.norms import euclidean

Integrand = Callable[[Tensor, Tensor], Tensor]
"""`(rows, times) -> [m, *event]`: the integrand of the samples `rows` at `times`, `[m]` each."""

ELEMENTS = 2**18  # numbers of a state that are evaluated at once
LEAST, MOST = 4, 64  # nodes


class Integral(NamedTuple):
    r"""$\int_s^tf_\tau\,d\tau$ of every sample.

    Attributes:
        value: `[batch, *event]`.
        error: the distance from the rule of half the nodes, `[batch]`: that of the coarser rule.
        nodes: nodes of the finest rule, `[batch]`.
    """

    value: Tensor
    error: Tensor
    nodes: Tensor


@cache
def _legendre(nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    points, weights = np.polynomial.legendre.leggauss(nodes)
    values = np.polynomial.legendre.legvander(points, nodes)
    primitive = np.empty((nodes, nodes))
    primitive[:, 0] = points + 1
    for k in range(1, nodes):
        primitive[:, k] = (values[:, k + 1] - values[:, k - 1]) / (2 * k + 1)
    upto = primitive @ np.linalg.inv(values[:, :nodes])
    return tuple(torch.from_numpy(a) for a in ((points + 1) / 2, weights / 2, upto / 2))  # type: ignore[return-value]


def rule(nodes: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Points and weights on $[0,1]$, `[nodes]`, and the matrix of the integrals from 0 to every point.

    The matrix, `[nodes, nodes]`, integrates the polynomial through values at the points.
    """
    points, weights, upto = (a.to(like.device, torch.float64) for a in _legendre(nodes))
    return points, weights, upto


def places(points: Tensor, s: Times, t: Times) -> Tensor:
    """The points on the way from `s` to `t` of every sample, `[nodes, batch]`, in the dtype of the times."""
    return torch.lerp(s, t, points.to(s.dtype)[:, None])


def spread(f: Integrand, rows: Tensor, times: Tensor, x: State, chunk: int | None = None) -> Tensor:
    """The integrand of the samples `rows`, `[m]`, at `times`, `[nodes, m]`, some at a time: `[nodes, m, *event]`."""
    which, when = rows.expand(times.shape).reshape(-1), times.reshape(-1)
    size = chunk or max(1, ELEMENTS // max(1, x[0].numel()))
    parts = [f(which[k : k + size], when[k : k + size]) for k in range(0, len(which), size)]
    return torch.cat(parts).reshape(*times.shape, *x.shape[1:])


def integrate(
    f: Integrand, s: Times, t: Times, x: State, *, tolerance: float, most: int = MOST, chunk: int | None = None
) -> Integral:
    r"""$\int_s^tf_\tau\,d\tau$ for samples like `x`: the nodes of a sample are doubled until two rules agree.

    They agree when they differ by `tolerance` of $\int|f|$, or by rounding of the state; the finer one is returned.

    Raises:
        TypeError, ValueError: for a tolerance below 0, and numbers of nodes below 1.
    """
    if number(tolerance, "tolerance") < 0:
        raise ValueError(f"`tolerance` must be at least 0, got {tolerance}; pass 1e-6, say.")
    whole(most, "most")
    if chunk is not None:
        whole(chunk, "chunk")
    value = torch.zeros_like(x)
    error = x.new_zeros(len(x))
    nodes = torch.zeros(len(x), dtype=torch.long, device=x.device)
    rows, before = torch.nonzero(s != t)[:, 0], None
    floor = 100 * torch.finfo(x.dtype).eps * (1 + euclidean(x))
    count = min(LEAST, most)
    while len(rows):
        points, weights, _ = rule(count, x)
        values = spread(f, rows, places(points, s[rows], t[rows]), x, chunk)
        span = (t - s)[rows].to(x.dtype)
        now = per_event(span, x) * torch.tensordot(weights.to(x.dtype), values, dims=1)
        value[rows], nodes[rows] = now, count
        sizes = torch.stack([euclidean(v) for v in values])
        scale = span.abs() * (weights.to(x.dtype) @ sizes)
        error[rows] = torch.inf if before is None else euclidean(now - before)
        going = ~(error[rows] <= tolerance * scale + floor[rows])
        count *= 2
        if count > most:
            break
        rows, before = rows[going], now[going]
    return Integral(value, error, nodes)

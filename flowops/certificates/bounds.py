r"""What a residual allows the error of a map to be, at most and at least.

With $y_\tau=\hat X_{s,\tau}(x)$, its residual $r_\tau$, the true path $x_\tau$ and $e=y-x$, forward in time
$$|e_t|\le e^{\int_s^t\mu}\,|e_s|+\int_s^te^{\int_\tau^t\mu_\sigma d\sigma}\,|r_\tau|\,d\tau,\qquad
\sup_{[s,t]}|e|\ge\frac{|\int_u^tr_\tau\,d\tau|}{2+\int_u^tL_\tau\,d\tau}$$
for all $u$, with the largest $\mu_2(\nabla b_\tau)$ and $L=\|\nabla b_\tau\|_2$ over the segment from $x_\tau$ to
$y_\tau$. The first is Dahlquist's; the second says that what moves a path off must show: $\int_u^tr=e_t-e_u
-\int_u^t(b(y)-b(x))$. For $s>t$ the same holds with $-b$.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowops.certificates.course import Course
from flowops.certificates.quadrature import rule

NAMES = ("logarithmic norm", "one-sided Lipschitz", "Lipschitz")


def upper_bounds(course: Course) -> tuple[Mapping[str, Tensor], Tensor]:
    r"""Bounds of the error's size by name, `[n]` each, and the first of them along the way, `[k * nodes, n]`.

    By $\mu_2$ over each sample's segment; by the largest $\mu_2$ over all samples, a one-sided Lipschitz constant; by
    the largest $\|\nabla b\|_2$ over all samples, a Lipschitz constant. Each is at least the one before. How far two
    quadrature rules are apart is added to each.
    """
    nodes, rates = course.nodes, course.rates
    every = torch.stack(
        [
            rates.growth,
            rates.growth.amax(-1, True).expand_as(rates.growth),
            rates.norm.amax(-1, True).expand_as(rates.norm),
        ]
    )
    bound, along = torch.zeros_like(every[:, 0, 0]), []
    for k, length in enumerate(course.length):
        bound = bound + course.defect[k]
        fine, way = carried(bound, every[:, k, :nodes], course.residual[k, :nodes], length)
        coarse, _ = carried(bound, every[:, k, nodes:], course.residual[k, nodes:], length)
        bound = (fine + (fine - coarse).abs()).nan_to_num(nan=torch.inf)
        along.append(way[0])
    bound = bound.cummax(0).values
    return dict(zip(NAMES, bound, strict=True)), torch.cat(along)


def carried(start: Tensor, rate: Tensor, residual: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    r"""$e^{\int\mu}B+\int e^{\int_\tau\mu}|r_\tau|\,d\tau$ at the end, `[..., n]`, and at the nodes, `[..., nodes, n]`.

    Args:
        start: $B$, `[..., n]`.
        rate: $\mu$ at the nodes, `[..., nodes, n]`.
        residual: $|r|$ there, `[nodes, n]`.
        length: $|t-s|$, `[n]`.
    """
    _, weights, upto = rule(rate.shape[-2], rate)
    grown = length * (upto @ rate)
    total = length * (weights @ rate)
    paid = (-grown).exp() * residual
    end = total.exp() * (start + length * (weights @ paid))
    return end, grown.exp() * (start[..., None, :] + length * (upto @ paid))


def lower_bound(course: Course) -> Tensor:
    r"""What the largest error on the way is at least, `[n]`: the second bound over all pairs of nodes and ends."""
    steep, moved = course.steep, course.moved.double().reshape(*course.steep.shape, -1)
    # integrals from s of the residual and of L, at nodes and ends
    best = torch.zeros_like(steep[0])
    for i in range(len(moved) - 1):
        gap = torch.linalg.vector_norm(
            (moved[i + 1 :] - moved[i]).double().reshape(len(moved) - i - 1, len(best), -1), dim=2
        )
        best = torch.maximum(best, (gap / ((2 if i else 1) + steep[i + 1 :] - steep[i])).amax(0))
    return best


def remainder(course: Course) -> Tensor:
    r"""$\int e^{\int\mu}|b(y)-b(y-\hat e)-\nabla b(y)\,\hat e|\,d\tau$, `[n]`: what the estimate may be off by.

    With the estimate $\hat e$ the rest $d=e-\hat e$ obeys
    $\dot d=[b(y-\hat e)-b(y-e)]+[b(y)-b(y-\hat e)-\nabla b(y)\,\hat e]$, hence
    $|d|'\le\mu|d|+$ the size of the second bracket.
    """
    left = torch.zeros_like(course.length[0])
    for k, length in enumerate(course.length):
        left, _ = carried(left, course.rates.growth[k, : course.nodes], course.bent[k, : course.nodes], length)
    return left.nan_to_num(nan=torch.inf)

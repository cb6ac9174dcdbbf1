r"""What is found along the way of a map, or of a sampler of several steps, beside the true path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import whole
from flowops._types import State
from flowops.certificates.constant import ESTIMATED, PROVED, Status
from flowops.certificates.growth import SegmentRates, Segments, segment_rates
from flowops.certificates.norms import SMALL, Rates
from flowops.certificates.quadrature import ELEMENTS, places, rule, spread
from flowops.certificates.tangent import tangent_error
from flowops.fields import VelocityField
from flowops.maps import FlowMap


@dataclass(frozen=True, eq=False)
class Course:
    r"""Samples on their way through $k$ steps, at the nodes of a Gauss rule and of one with half as many.

    The last axis of every size is that of the samples, `n`; `m` is the number of nodes of both rules, the finer first.

    Attributes:
        nodes: nodes of the finer rule.
        times: `[k, m, n]`.
        length: of the steps, `[k, n]`.
        defect: $|\hat X_{s,s}(y)-y|$ at the start of every step, `[k, n]`.
        residual: its size, `[k, m, n]`.
        rates: over the segments between the paths, `[k, m, n]` each.
        status: what is known of the rates.
        how: the formula, or what was looked at.
        moved: $\int_s^\tau r$ and the defects, before and after the start of every step, at its finer nodes and at its
            end, `[k * (nodes + 2) + 1, n, *event]`.
        steep: $\int_s^\tau\|\nabla b\|_2$ there.
        steps: the part of the estimate that each step has made, at `t`, `[k, n, *event]`.
        bent: $|b(y)-b(y-\hat e)-\nabla b(y)\,\hat e|$ of the estimate $\hat e$, `[k, m, n]`.
        estimate: the size of the estimate at the finer nodes, `[k, nodes, n]`.
        off: that of the error, or None.
        error: at `t`, `[n, *event]`, or None.
    """

    nodes: int
    times: Tensor
    length: Tensor
    defect: Tensor
    residual: Tensor
    rates: Rates
    status: Status
    how: str
    moved: Tensor
    steep: Tensor
    steps: Tensor
    bent: Tensor
    estimate: Tensor
    off: Tensor | None
    error: Tensor | None

    @staticmethod
    def joined(parts: Sequence[Course]) -> Course:
        """The courses of some samples after those of others."""
        first = parts[0]
        if len(parts) == 1:
            return first
        axes = {"moved": 1, "steps": 1, "error": 0}
        found: dict[str, Any] = {}
        for name in (f.name for f in fields(Course)):
            values = [getattr(part, name) for part in parts]
            if isinstance(values[0], Tensor):
                found[name] = torch.cat(values, axes.get(name, -1))
        joint = Rates(*(torch.cat(each, -1) for each in zip(*(part.rates for part in parts), strict=True)))
        return replace(first, rates=joint, **found)


def follow(
    X: FlowMap, b: VelocityField, grid: Tensor, x: State, flow: FlowMap | None, nodes: int, *, estimated: bool = True
) -> Course:
    r"""The course of states `x` at the first time of the grid, `[k + 1, n]`, to the last.

    Args:
        X: the map.
        b: the field.
        grid: times of the sampler.
        x: states.
        flow: the flow map of `b`, for the true path; if None, it is where the estimate says.
        nodes: of the finer rule.
        estimated: whether the estimate is wanted; without it, it is zero.

    Cost: as `certify`; without the estimate that of the residuals, the true path and the rates.
    """
    points = torch.cat([rule(whole(nodes, "nodes", 2), x)[0], rule(nodes // 2, x)[0]])
    length = (grid[1:] - grid[:-1]).abs().double()
    times, paths, forces, starts = [], [], [], [x]
    for s, t in zip(grid[:-1], grid[1:], strict=True):
        times.append(places(points, s, t))
        path, force = _along(X, b, s, times[-1], starts[-1])
        paths.append(path)
        forces.append(force)
        starts.append(X(s, t, starts[-1]))
    jumps = torch.stack([X(s, s, y) - y for s, y in zip(grid[:-1], starts[:-1], strict=True)])
    tau, y, r = torch.stack(times), torch.stack(paths), torch.stack(forces)
    steps, estimate = x.new_zeros(len(length), *x.shape), torch.zeros_like(y)
    if estimated or flow is None:
        steps, estimate = _estimates(X, b, grid, tau, starts)
    truth = None if flow is None else flow.path(grid[0], [*tau.flatten(0, 1), grid[-1]], x)
    other = y - estimate if truth is None else truth[:-1].reshape(y.shape)
    found = growth_over(b, grid, tau, y, other)
    status = ESTIMATED if truth is None and found.status != PROVED else found.status
    how = found.how if status == found.status else f"{found.how}; the true path is where the estimate says"
    moved, steep = _primitives(jumps, r[:, :nodes], found.rates.norm[:, :nodes], length, grid.diff(dim=0))
    return Course(
        nodes,
        tau,
        length,
        _sizes(jumps, 2),
        _sizes(r, 3),
        found.rates,
        status,
        how,
        moved,
        steep,
        steps,
        _sizes(_bent(b, tau, y, estimate), 3),
        _sizes(estimate[:, :nodes], 3),
        None if truth is None else _sizes((y - other)[:, :nodes], 3),
        None if truth is None else starts[-1] - truth[-1],
    )


def _along(X: FlowMap, b: VelocityField, s: Tensor, tau: Tensor, x: State) -> tuple[Tensor, Tensor]:
    """States of the map and its residuals at times `[m, n]`, `[m, n, *event]` each."""
    rows = torch.arange(len(x), device=x.device)

    def state(own: Tensor, t: Tensor) -> Tensor:
        return X.subset(own)(s[own], t, x[own])

    def residual(own: Tensor, t: Tensor) -> Tensor:
        return residuals.lagrangian(X.subset(own), b.subset(own), s[own], t, x[own])

    return spread(state, rows, tau, x), spread(residual, rows, tau, x)


def _estimates(
    X: FlowMap, b: VelocityField, grid: Tensor, tau: Tensor, starts: Sequence[State]
) -> tuple[Tensor, Tensor]:
    """What each step adds to the estimate at the end, `[k, n, *event]`, and the estimate at every node."""
    n = len(starts[0])
    parts, along = starts[0].new_zeros(0, *starts[0].shape), []
    for k, y in enumerate(starts[:-1]):
        own = torch.arange(n, device=y.device).repeat(k + 1)
        driven = torch.arange((k + 1) * n, device=y.device) >= k * n
        start = torch.cat([parts, torch.zeros_like(y)[None]])
        ends = [t[own] for t in (*tau[k], grid[k + 1])]
        found = tangent_error(
            X.subset(own), b.subset(own), grid[k][own], ends, y[own], start=start.flatten(0, 1), driven=driven
        ).reshape(len(ends), k + 1, *y.shape)
        parts = found[-1]
        along.append(found[:-1].sum(1))
    return parts, torch.stack(along)


def _bent(b: VelocityField, tau: Tensor, y: Tensor, e: Tensor) -> Tensor:
    """What linearizing the field leaves out, at the nodes."""
    x, flat = y[0, 0], (y.flatten(0, 2), e.flatten(0, 2))
    places = torch.arange(tau.numel(), device=y.device)

    def left_out(some: Tensor, t: Tensor) -> Tensor:
        field, state, off = b.subset(some % len(x)), flat[0][some], flat[1][some]
        value, slope = field.value_and_jvp(t, state, off)
        return value - field(t, state - off) - slope

    return spread(left_out, places, tau.reshape(1, -1), x)[0].reshape(y.shape)


def growth_over(b: VelocityField, grid: Tensor, tau: Tensor, y: Tensor, z: Tensor) -> SegmentRates:
    """The rates over the segments between two paths at times `[..., n]`, in the direction of the grid."""
    n = tau.shape[-1]
    rows = torch.arange(n, device=y.device).expand(tau.shape).reshape(-1)
    direction = torch.where(grid[-1] >= grid[0], 1.0, -1.0).double()[rows]
    ends = [path.reshape(-1, *path.shape[tau.ndim :]) for path in (y, z)]
    flat = (tau.reshape(-1), *ends, direction, rows)
    event = max(1, ends[0][:1].numel())
    size = max(1, ELEMENTS // (event**2 if event <= SMALL else event))
    found = [
        segment_rates(b.subset(own), Segments(*some)) for *some, own in zip(*(p.split(size) for p in flat), strict=True)
    ]
    joint = (torch.cat(each).double().reshape(tau.shape) for each in zip(*(f.rates for f in found), strict=True))
    return found[0]._replace(rates=Rates(*joint))


def _primitives(jumps: Tensor, r: Tensor, norm: Tensor, length: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Integrals of the residual and of the norm from the start to it, the nodes and the ends of the steps."""
    _, weights, upto = rule(r.shape[1], r)
    now, level = torch.zeros_like(jumps[0]), torch.zeros_like(length[0])
    moved, steep = [now], [level]
    for k, values in enumerate(r):
        h = span[k].to(r.dtype).reshape(-1, *[1] * (values.ndim - 2))
        now = now + jumps[k]
        moved.append(now)
        steep.append(level)
        moved += [*(now + h * torch.tensordot(upto.to(r.dtype), values, dims=1))]
        steep += [*(level + length[k] * (upto @ norm[k]))]
        now = now + h * torch.tensordot(weights.to(r.dtype), values, dims=1)
        level = level + length[k] * (weights @ norm[k])
        moved.append(now)
        steep.append(level)
    return torch.stack(moved), torch.stack(steep)


def _sizes(values: Tensor, lead: int) -> Tensor:
    """Euclidean norms in float64 of states with so many axes before the event."""
    return torch.linalg.vector_norm(values.double().reshape(*values.shape[:lead], -1), dim=-1)

r"""The shape of the curves $\tau\mapsto X_{s,\tau}(x)$: length, straightness, curvature, dimension, speed.

Rates are those of the curve itself, $\partial_\tau X_{s,\tau}(x)$, which for a learned map is not its field at the same
point. Integrals are Gauss-Legendre sums; their error falls geometrically with the nodes for smooth curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_time, expand_times, per_event, whole
from flowops._derivatives import value_and_jvp
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields.divergence import inner
from flowops.maps.flow_map import FlowMap, grid_of
from flowops.maps.quadrature import Nodes, along, places


def arc_length(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, nodes: int = 32) -> PerSample:
    r"""$\int_s^t|\partial_\tau X_{s,\tau}(x)|\,|d\tau|$, `[batch]`: at least $|X_{s,t}(x)-x|$, and equal for lines.

    Args:
        X: the map.
        s: start time.
        t: end time, before or after `s`.
        x: state at time `s`.
        nodes: Gauss-Legendre points.

    Cost: one forward-mode pass on a batch `nodes` times as large. Checked by
    `theory_checks/test_shapes_of_trajectories.py`, as all of this file.
    """
    s, t = _ends(s, t, x)
    path, rate = _moving(X, s, t, x, nodes)
    return ((t - s).abs() * path.mean(_norm(rate))).to(x.dtype)


def straightness(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, nodes: int = 32) -> PerSample:
    r"""$(t-s)\int_s^t|\partial_\tau X_{s,\tau}(x)-v_{s,t}(x)|^2\,d\tau$, `[batch]`: zero for a line of constant speed.

    It is the action of the curve less $|X_{s,t}(x)-x|^2$: what its kinetic energy spends on bends and hurries. With the
    mean of $|X_{s,t}(x)-x|^2$, at least $W_2^2(\rho_s,\rho_t)$, the mean action parts into two gaps that close for
    optimal transport alone. Arguments and cost are those of `arc_length`, and one call.

    Source: Liu, Gong, Liu 2209.03003, which integrates from 0 to 1.
    """
    s, t = _ends(s, t, x)
    path, rate = _moving(X, s, t, x, nodes)
    rows = path.rows
    off = rate - X.average_velocity(s, t, x)[rows]
    return ((t - s).square() * path.mean(inner(off, off))).to(x.dtype)


def curvature(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
    r"""Curvature of $\tau\mapsto X_{s,\tau}(x)$ at $\tau=t$, `[batch]`: one over the radius of its circle.

    $|a-(a\cdot e)e|/|v|^2$ with $v=\partial_tX$, $a=\partial_t^2X$, $e=v/|v|$; zero for a curve in one dimension, NaN
    where it stands still.

    Cost: two nested forward-mode passes.
    """
    s, t = _ends(s, t, x)
    rate, bend = _bend(X, s, t, x)
    return bend / _norm(rate)


def turning(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, nodes: int = 32) -> PerSample:
    r"""Total curvature $\int_s^t|\tfrac{d}{d\tau}\tfrac{v_\tau}{|v_\tau|}|\,|d\tau|$ in radians, `[batch]`.

    The angle by which the direction of the curve turns, whatever its speed; zero for straight lines alone. Arguments
    are those of `arc_length`.

    Cost: two nested forward-mode passes on a batch `nodes` times as large.
    """
    s, t = _ends(s, t, x)
    tau, rows, weights = places(s, t, whole(nodes, "nodes", 1))
    bend = _bend(X.subset(rows), s[rows], tau, x[rows])[1]
    return ((t - s).abs() * (weights[:, None] * bend.reshape(len(weights), -1)).sum(0)).to(x.dtype)


def principal_variances(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, nodes: int = 32) -> Tensor:
    r"""Variances of each curve along its principal axes, the largest first, `[batch, min(nodes, d)]`.

    The eigenvalues of $\tfrac1{t-s}\int_s^t(x_\tau-\bar x)(x_\tau-\bar x)^\top d\tau$ with $x_\tau=X_{s,\tau}(x)$ and
    $\bar x$ its mean over time; they add up to the mean squared distance from $\bar x$. A line has one, a curve in a
    plane two: divided by their sum they say how many dimensions a trajectory needs. Arguments are those of
    `arc_length`.

    Cost: one call on a batch `nodes` times as large, and a singular value decomposition of `nodes` states a sample.
    Source: 2405.11326, for the trajectories of diffusion models.
    """
    s, t = _ends(s, t, x)
    path = along(X, s, t, x, whole(nodes, "nodes", 1))
    states = path.states.reshape(len(path.weights), len(x), x.shape[1:].numel())
    weights = path.weights.to(x.dtype)[:, None, None]
    centred = (states - (weights * states).sum(0)) * weights.sqrt()
    return torch.linalg.svdvals(centred.movedim(1, 0)).square()


def tangent_norms(X: FlowMap, s: TimeLike, times: Sequence[TimeLike] | Tensor, x: Tensor) -> Tensor:
    r"""$|\partial_tX_{s,t_j}(x)|$ at each of the times, `[len(times), batch]`: the speeds on the way.

    Args:
        X: the map.
        s: the time of `x`.
        times: in any order; each entry a number, a 0-d tensor or one time per sample.
        x: state.

    Raises:
        ValueError: for a single time, or none.

    Cost: one forward-mode pass on a batch as many times as large.
    """
    check_state(x)
    ends = torch.stack([expand_times(s, t, x)[1] for t in grid_of(times)])
    rows = torch.arange(len(x), device=x.device).repeat(len(ends))
    rate = X.subset(rows).dt(expand_time(s, x, "s").to(ends.dtype)[rows], ends.flatten(), x[rows])
    return _norm(rate).reshape(ends.shape)


def _ends(s: TimeLike, t: TimeLike, x: Tensor) -> tuple[Times, Times]:
    check_state(x)
    return expand_times(s, t, x)


def _moving(X: FlowMap, s: Times, t: Times, x: State, nodes: int) -> tuple[Nodes, Tensor]:
    """The nodes of the curves and their rates there, in one pass."""
    tau, rows, weights = places(s, t, whole(nodes, "nodes", 1))
    states, rates = X.subset(rows).value_and_dt(s[rows], tau, x[rows])
    return Nodes(tau, states, rows, weights), rates


def _bend(X: FlowMap, s: Times, t: Times, x: State) -> tuple[State, PerSample]:
    r"""$\partial_tX$ and the rate $|a-(a\cdot e)e|/|v|$ at which its direction turns."""
    rate, change = value_and_jvp(lambda q: X.dt(s, q, x), (t,), (torch.ones_like(t),))
    square = inner(rate, rate)
    moves = square > 0  # what rests does not turn
    square = torch.where(moves, square, 1)
    across = change - per_event(inner(change, rate) / square, x) * rate
    return rate, torch.where(moves, (inner(across, across) / square).sqrt(), 0)


def _norm(x: State) -> PerSample:
    return inner(x, x).sqrt()

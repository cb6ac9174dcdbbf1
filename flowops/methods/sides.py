r"""The residuals of the rows, each as the two sides that a term compares at a point, batched throughout.

A function here is a few lines over `flowops.residuals` and the operators; when the point is frozen its right side is a
constant of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import per_event
from flowops._derivatives import recording
from flowops.maps import FlowMap
from flowops.maps.frozen import FrozenMap
from flowops.methods.point import Difference, Differences, Point, named
from flowops.methods.solver_step import SolverStep
from flowops.methods.sources import CONDITIONAL, solve
from flowops.residuals import Sides


def tangent(k: Point) -> Differences:
    r"""$v_{t,t}(I_t)$ against $\dot I_t$."""
    return named("diagonal", residuals.tangent(k.X, k.b, k.t, k.x, parts=True))


def lagrangian(k: Point) -> Differences:
    r"""$\partial_tX_{s,t}(x)$ against $b_t(X_{s,t}(x))$."""
    return named("lagrangian", residuals.lagrangian(k.X, k.b, k.s, k.t, k.x, parts=True))


def eulerian(k: Point) -> Differences:
    r"""$\partial_sX_{s,t}(x)$ against $-\nabla X_{s,t}(x)\,b_s(x)$."""
    if not k.frozen:
        whole = residuals.eulerian(k.X, k.b, k.s, k.t, k.x)
        return named("eulerian", Sides(whole, torch.zeros_like(whole)))
    if k.target is k.X:
        return named("eulerian", residuals.eulerian(k.X, k.b, k.s, k.t, k.x, parts=True))
    with torch.no_grad():
        right = residuals.eulerian(k.target, k.b, k.s, k.t, k.x, parts=True).right
    return named("eulerian", Sides(k.X.ds(k.s, k.t, k.x), right))


def lagrangian_velocity(k: Point) -> Differences:
    r"""$v_{s,t}(x)$ against $b_t(X_{s,t}(x))-(t-s)\,\partial_tv_{s,t}(x)$."""
    left, right = _average_velocity(k, residuals.lagrangian_velocity, k.b, k.s, k.t, k.x)
    if k.warmup is not None:
        right = torch.lerp(k.b(k.t, k.X(k.s, k.t, k.x)), right, k.warmup)
    return named("lagrangian", Sides(left, right))


def eulerian_velocity(k: Point) -> Differences:
    r"""$v_{s,t}(x)$ against $b_s(x)+(t-s)(\partial_s+b_s\cdot\nabla)v_{s,t}(x)$."""
    left, right = _average_velocity(k, residuals.eulerian_velocity, k.b, k.s, k.t, k.x)
    if k.warmup is not None:
        right = torch.lerp(k.b(k.s, k.x), right, k.warmup)
    return named("eulerian", Sides(left, right))


def improved_eulerian(k: Point) -> Differences:
    r"""$v_{s,t}(x)$ against $\dot I_s+(t-s)(\partial_s+v_{s,s}\cdot\nabla)v_{s,t}(x)$."""
    b = k.b
    left, right = residuals.eulerian_velocity(k.X, b, k.s, k.t, k.x, parts=True, frozen=k.frozen)
    return named("eulerian", Sides(left, right + (CONDITIONAL(k)(k.s, k.x) - b(k.s, k.x))))


def semigroup(k: Point) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{u,t}(X_{s,u}(x))$."""
    with recording(not k.frozen):
        composed = k.target.compose([k.s, k.middle, k.t], k.x)
    return named("semigroup", Sides(k.X(k.s, k.t, k.x), composed))


def semigroup_velocity(k: Point) -> Differences:
    r"""$v_{s,t}(x)$ against $(1-\gamma)v_{s,u}(x)+\gamma v_{u,t}(X_{s,u}(x))$."""
    length = k.t - k.s
    gamma = torch.where(length == 0, 0.5, (k.t - k.middle) / torch.where(length == 0, 1, length))
    return named("semigroup", _average_velocity(k, residuals.semigroup_velocity, k.s, k.t, gamma, k.x))


def direct(k: Point) -> Differences:
    r"""$\partial_tX_{s,t}(y)$ against $\dot I_t$ and $X_{s,t}(y)$ against $I_t$, at $y=X_{t,s}(I_t)$."""
    It = k.interpolant(k.t, k.x0, k.x1, k.z)
    value, dt = k.X.value_and_dt(k.s, k.t, k.X(k.t, k.s, It))
    return {"lagrangian": Difference(dt, k.b(k.t, It)), "inverse": Difference(value, It)}


def composed(k: Point) -> Differences:
    r"""$X_{s,t}(x)$ against $K$ equal steps of the teacher map."""
    with torch.no_grad():
        grid = [torch.lerp(k.s, k.t, i / k.options.K) for i in range(k.options.K + 1)]
        end = _stepper(k).compose(grid, k.x)
    return named("composition", Sides(k.X(k.s, k.t, k.x), end))


def consistency(k: Point) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{u,t}$ at $I_u$ of the same samples, or at a solver's step from $x$ to $u$."""
    with recording(not k.frozen):
        end = k.target(k.middle, k.t, _advanced(k))
    return named("consistency", Sides(k.X(k.s, k.t, k.x), end))


def trajectory_consistency(k: Point) -> Differences:
    r"""$\bar X_{t,1}(X_{s,t}(x))$ against $\bar X_{t,1}(X_{u,t}(y))$, $y$ a solver's step from $x$ to time $u$."""
    final, one = FrozenMap(k.target), torch.ones_like(k.t)
    with recording(not k.frozen):
        right = final(k.t, one, k.target(k.middle, k.t, _advanced(k)))
    return named("consistency", Sides(final(k.t, one, k.X(k.s, k.t, k.x)), right))


def discrete_lagrangian(k: Point) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{s,u}(x)+(t-u)\,b_u(X_{s,u}(x))$."""
    with recording(not k.frozen):
        near = k.X(k.s, k.middle, k.x)
        right = near + (per_event(k.t - k.middle, k.x) * k.b(k.middle, near)).to(k.x.dtype)
    return named("lagrangian", Sides(k.X(k.s, k.t, k.x), right))


def solution(k: Point) -> Differences:
    r"""$X_{s,t_j}(x)$ against $\Phi_{s,t_j}(x)$ at `points` times up to $t$, averaged."""
    n, points = len(k.x), k.options.points
    rows = torch.arange(n, device=k.x.device).repeat(points)
    fraction = torch.arange(1, points + 1, dtype=k.t.dtype, device=k.t.device).repeat_interleave(n) / points
    s, t, x = k.s[rows], torch.lerp(k.s[rows], k.t[rows], fraction), k.x[rows]
    right = solve(k, s, t, x, rows)
    left = k.X._rows(rows)(s, t, x) if points > 1 else k.X(s, t, x)
    shape = (points, n, *k.x.shape[1:])
    left, right = (side.reshape(shape).movedim(0, 1) for side in (left, right))
    return {"solution": Difference(left, right, 1 / points)}


def alpha_step(k: Point) -> Differences:
    r"""$v_{s,t}(x)$ against $\alpha w+(1-\alpha)v_{u,t}(x+(u-s)w)$, $w$ the velocity followed."""
    if k.alpha is None:
        return eulerian_velocity(k)
    with recording(not k.frozen):
        own = k.options.follow == "own"
        w = k.target.average_velocity(k.s, k.middle, k.x) if own else k.b(k.s, k.x)
        y = (k.x + per_event(k.middle - k.s, k.x) * w).to(k.x.dtype)
        right = torch.lerp(k.target.average_velocity(k.middle, k.t, y), w, k.alpha.to(w.dtype))
    left = k.X.average_velocity(k.s, k.t, k.x)  # their difference is O(alpha): scaled, norms and weights see its limit
    return {"eulerian": Difference(left / k.alpha, right / k.alpha, k.alpha)}


def contrastive(k: Point) -> Differences:
    r"""$v_{t,t}(I_t)$ against $\dot I_t$, and with the factor $-\lambda$ against the velocity of another sample."""
    if len(k.x) < 2:
        raise ValueError("`contrastive-fm` must see at least two samples to contrast, got one; enlarge the batch.")
    z = None if k.z is None else k.z.roll(1, 0)
    other = k.interpolant.velocity(k.t, k.x0.roll(1, 0), k.x1.roll(1, 0), z)
    left, right = residuals.tangent(k.X, k.b, k.t, k.x, parts=True)
    return {"diagonal": Difference(left, right), "contrast": Difference(left, other, -k.options.lam)}


def _average_velocity(k: Point, residual: Callable[..., Sides], *operands: Any) -> Sides:
    """The sides of a residual of average velocities; the right one is the target's where that is another map."""
    if k.target is k.X:
        return residual(k.X, *operands, parts=True, frozen=k.frozen)
    right = residual(k.target, *operands, parts=True, frozen=True).right
    return Sides(k.X.average_velocity(k.s, k.t, k.x), right)


def _stepper(k: Point) -> FlowMap:
    """The teacher map; of a field, one step of the solver."""
    return k.teacher if isinstance(k.teacher, FlowMap) else SolverStep(k.b, k.options.solver)


def _advanced(k: Point) -> Tensor:
    r"""The state at $u$ that $x$ leads to: $I_u$ for the conditional velocity, else a solver's step."""
    if k.source is CONDITIONAL:
        return k.interpolant(k.middle, k.x0, k.x1, k.z)
    return SolverStep(k.b, k.options.solver)(k.s, k.middle, k.x)

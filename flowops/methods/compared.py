r"""What the terms of several rows compare, each as two sides at a point: a few lines over `flowops.residuals`.

When the point is frozen the right side is a constant of the parameters. What only one row compares stands beside that
row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from flowops import residuals
from flowops._derivatives import records
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.methods.norms import Squared
from flowops.methods.point import CONDITIONAL, OWN, Difference, Differences, TermPoint, along
from flowops.networks.masks import one_mask
from flowops.residuals import Sides


def tangent(k: TermPoint) -> Differences:
    r"""$v_{t,t}(I_t)$ against $\dot I_t$."""
    left, right = residuals.tangent(k.X, k.b, k.t, k.x, parts=True, frozen=k.frozen)
    found = {"diagonal": Difference(left, right)}
    return with_auxiliary(k, found, right) if k.options.auxiliary else found


def lagrangian(k: TermPoint) -> Differences:
    r"""$\partial_tX_{s,t}(x)$ against $b_t(X_{s,t}(x))$."""
    return {"lagrangian": Difference(*residuals.lagrangian(k.X, k.b, k.s, k.t, k.x, parts=True, frozen=k.frozen))}


def eulerian(k: TermPoint) -> Differences:
    r"""$\partial_sX_{s,t}(x)$ against $-\nabla X_{s,t}(x)\,b_s(x)$."""
    if not k.frozen:
        whole = residuals.eulerian(k.X, k.b, k.s, k.t, k.x)
        return {"eulerian": Difference(whole, torch.zeros_like(whole))}
    left, right = residuals.eulerian(k.X, k.b, k.s, k.t, k.x, parts=True, frozen=True, target=k.target)
    return {"eulerian": Difference(left, right)}


def lagrangian_velocity(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $b_t(X_{s,t}(x))-(t-s)\,\partial_tv_{s,t}(x)$."""
    left, right = average_velocity_sides(k, residuals.lagrangian_velocity, k.b, k.s, k.t, k.x)
    if k.warmup is not None:
        with torch.set_grad_enabled(records(not k.frozen)):
            right = torch.lerp(k.b(k.t, k.X(k.s, k.t, k.x)), right, k.warmup)
    return {"lagrangian": Difference(left, right)}


def eulerian_velocity(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $b_s(x)+(t-s)(\partial_s+b_s\cdot\nabla)v_{s,t}(x)$."""
    left, right = average_velocity_sides(k, residuals.eulerian_velocity, k.b, k.s, k.t, k.x)
    if k.warmup is not None:
        with torch.set_grad_enabled(records(not k.frozen)):
            right = torch.lerp(k.b(k.s, k.x), right, k.warmup)
    return {"eulerian": Difference(left, right)}


def mean_velocity(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $\dot I_s+(t-s)(\partial_s+w\cdot\nabla)v_{s,t}(x)$, $w=\beta\dot I_s+(1-\beta)v_{s,s}$."""
    share = k.options.tangent
    if share == 1:
        found = eulerian_velocity(k)
        return with_auxiliary(k, found, k.b(k.s, k.x).detach()) if k.options.auxiliary else found
    with torch.set_grad_enabled(records(not k.frozen)):
        velocity, own = k.b(k.s, k.x), OWN.field(k)(k.s, k.x)
        w = torch.lerp(own, velocity, share)
    along = VelocityField.from_function(lambda _t, _x: w)
    left, right = average_velocity_sides(k, residuals.eulerian_velocity, along, k.s, k.t, k.x)
    with torch.set_grad_enabled(records(not k.frozen)):
        right = right + (velocity - w)
        if k.warmup is not None:
            right = torch.lerp(velocity, right, k.warmup)
    found = {"eulerian": Difference(left, right)}
    return with_auxiliary(k, found, velocity) if k.options.auxiliary else found


def with_auxiliary(k: TermPoint, found: Differences, velocity: Tensor) -> Differences:
    """Beside what is found the second output of the network at the start against the term's velocity there."""
    return found | {"auxiliary": Difference(k.X.auxiliary()(k.s, k.x), velocity)}


def semigroup(k: TermPoint) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{u,t}(X_{s,u}(x))$."""
    with torch.set_grad_enabled(records(not k.frozen)):
        composed = k.target.compose([k.s, k.middle, k.t], k.x)
    return {"semigroup": Difference(k.X(k.s, k.t, k.x), composed)}


def semigroup_velocity(k: TermPoint) -> Differences:
    r"""$v_{s,t}(x)$ against $(1-\gamma)v_{s,u}(x)+\gamma v_{u,t}(X_{s,u}(x))$."""
    gamma = second_share(k)
    return {"semigroup": Difference(*average_velocity_sides(k, residuals.semigroup_velocity, k.s, k.t, gamma, k.x))}


def second_share(k: TermPoint) -> Tensor:
    r"""$\gamma=(t-u)/(t-s)$, one half where both times are one."""
    length = k.t - k.s
    return torch.where(length == 0, 0.5, (k.t - k.middle) / torch.where(length == 0, 1, length))


def invertibility(k: TermPoint) -> Difference:
    r"""$X_{t,s}(X_{s,t}(x))$ against $x$, squared, times the option `inverse`, whatever the norm and weights."""
    left, right = residuals.inverse(k.X, k.s, k.t, k.x, parts=True)
    return Difference(left, right, k.options.inverse, norm=Squared())


def consistency(k: TermPoint) -> Differences:
    r"""$X_{s,t}(x)$ against $X_{u,t}$ at $I_u$ of the same samples, or at a solver's step from $x$ to $u$."""
    with one_mask(k.X) if k.options.one_mask else nullcontext():
        with torch.set_grad_enabled(records(not k.frozen)):
            end = k.target(k.middle, k.t, advanced(k))
        return {"consistency": Difference(k.X(k.s, k.t, k.x), end)}


def average_velocity_sides(k: TermPoint, residual: Callable[..., Sides], *operands: Any) -> Sides:
    """The sides of a residual of average velocities; the right one is the target's where that is another map."""
    if k.target is k.X:
        return residual(k.X, *operands, parts=True, frozen=k.frozen)
    right = residual(k.target, *operands, parts=True, frozen=True).right
    return Sides(k.X.average_velocity(k.s, k.t, k.x), right)


def advanced(k: TermPoint) -> Tensor:
    r"""The state at $u$ that $x$ leads to: $I_u$ for the conditional velocity, else a solver's step or its steps."""
    if k.source is CONDITIONAL:
        return k.interpolant(k.middle, k.x0, k.x1, k.z)
    if k.path is not None:
        return one_step(k).compose(k.path.unbind(1), k.x)
    return one_step(k)(k.s, k.middle, k.x)


def one_step(k: TermPoint) -> FlowMap:
    """One step of the option `solver` along the velocity, as a map."""
    return along(k.b, k.options.solver, k.schedule)

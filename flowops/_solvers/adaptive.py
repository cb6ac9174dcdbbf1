"""Adaptive solves with a step size and an error per sample.

A solve goes through its steps without derivatives first, with an active set and rejections. Where derivatives are
wanted, the accepted steps are repeated with them: what is differentiated is the result of fixed steps, whose lengths
are constant fractions of `t - s`, so that reverse and forward mode are right to the tolerance of the solve in the
state, the parameters and both times, and no rejected step enters a derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from flowops._derivatives import inside_vmap, is_tracked, is_transformed
from flowops._solvers.active import Accepted, Active, Field
from flowops._solvers.control import Control
from flowops._solvers.failures import Ends
from flowops._solvers.statistics import Statistics
from flowops._solvers.stepping import repeat
from flowops._solvers.tableaus import Embedded

Result = tuple[Tensor, Ends, Statistics]


@dataclass
class Starts:
    """Where the steps of a solve start, once it is done.

    Attributes:
        r: places from 0 to 1 between both times, `[steps, batch]`; infinite behind a sample's last step.
        y: the states there, `[steps, batch, n]`.
    """

    r: Tensor | None = None
    y: Tensor | None = None


def integrate_adaptive(field: Field, y: Tensor, s: Tensor, t: Tensor, **options: Any) -> Result:
    """`_integrate`, left out of a graph that is being compiled: it looks at its errors."""
    return (_outside_graphs if torch.compiler.is_compiling() else _integrate)(field, y, s, t, **options)


def _integrate(
    field: Field,
    y: Tensor,
    s: Tensor,
    t: Tensor,
    *,
    pair: Embedded,
    control: Control,
    max_steps: int,
    recompute: tuple[Tensor, ...] | None = None,
    first: float | None = None,
    starts: Starts | None = None,
) -> Result:
    """Solve `dy/dtau = rhs(tau, y)` from `s` to `t` (`[batch]` each) for `y` of shape `[batch, n]`.

    Args:
        field: the right-hand side for rows of the batch.
        y: states at `s`.
        s: start times.
        t: end times.
        pair: the method.
        control: the tolerances.
        max_steps: a sample that needs more steps is given up.
        recompute: if given, keep only the states at which steps start for a gradient, and go through each step again
            for it; the tensors named are what it flows to besides the states and the times.
        first: the first step as a fraction of the interval; by Hairer's rule if not given.
        starts: takes where the steps start.

    Returns:
        The states at `t`, NaN where a sample failed; where each sample stopped; the work.
    """
    _refuse_vmap(y, s, t)
    moving = (s != t).detach()
    everyone = bool(moving.all())
    rows = None if everyone else moving.nonzero()[:, 0]
    times_tracked = is_tracked(s) or is_tracked(t)
    tracked = times_tracked or is_tracked(y)
    y_, s_, t_ = (z.detach() for z in (y, s, t))
    active = Active(_plain(field), y_, s_, t_, pair, control, max_steps)
    if rows is None or len(rows):
        if rows is not None:
            active.step = moving.to(s.dtype)
            active.slope = torch.zeros_like(y_)
            active.leave(None)
        rhs = field(rows)
        slope = rhs(*((s, y) if rows is None else (s[rows], y[rows])))
        _refuse_vmap(slope)
        tracked = tracked or is_tracked(slope)
        with torch.no_grad():
            active.start(_plain(field)(rows), slope.detach(), first)
            active.run(tracked or starts is not None, starts is not None and not tracked)
    statistics = Statistics(
        active.steps,
        active.tried - active.steps,
        torch.where(moving, active.tried * (pair.stages - 1) + (1 if first else 2), 0),
        active.stiff > 0,
        active.status > 0,
    )
    ends = Ends(active.status, torch.lerp(s_, t_, active.place), torch.linalg.vector_norm(active.end, dim=1))
    if not tracked:
        if starts is not None:
            _tell(starts, active, active.accepted())
        value = active.end
        failed = statistics.failed[:, None]
        return torch.where(failed, torch.nan, value), ends, statistics
    path = active.accepted()
    value, states = _repeat(field, y, s, t, active, path, pair, recompute, starts is not None)
    if starts is not None:
        path.y = states
        _tell(starts, active, path)
    if times_tracked and not everyone:
        value = _at_rest(field, value, y, s, t, (~moving).nonzero()[:, 0])
    return value, ends, statistics


_outside_graphs = _disable_dynamo(_integrate)  # unlike torch.compiler.disable, this does not load the compiler


def _repeat(
    field: Field,
    y: Tensor,
    s: Tensor,
    t: Tensor,
    active: Active,
    path: Accepted,
    pair: Embedded,
    recompute: tuple[Tensor, ...] | None,
    dense: bool,
) -> tuple[Tensor, Tensor | None]:
    """The accepted steps again, with derivatives: the ends, and the states at which steps start.

    Samples are sorted by their number of steps, so that those under way are the first ones.
    """
    steps = torch.where(active.status > 0, 0, active.steps)
    order = steps.argsort(descending=True, stable=True)
    back = order.argsort()
    sizes = (steps > torch.arange(len(path.r), device=y.device)[:, None]).sum(1).tolist()
    failed = (active.status > 0)[order]
    r, length = path.r[:, order], path.length[:, order]
    s, t, y = s[order], t[order], y[order]
    numbers = pair.coefficients(y)
    c = numbers.c.to(s.dtype)
    wanted = None
    if recompute is not None and not is_transformed():
        wanted = tuple({id(p): p for p in recompute if p.requires_grad}.values())
    arrived: list[Tensor] = []
    states: list[Tensor] = []
    slope = None
    for k, size in enumerate(sizes):
        if not size:
            break
        if slope is None or size != len(y):
            arrived.append(y[size:])
            s, t, y = s[:size], t[:size], y[:size]
            rhs = field(order[:size])
            slope = rhs(s, y) if slope is None else slope[:size]
        if dense:
            states.append(torch.cat([y, *arrived[::-1]]).index_select(0, back))
        tau = torch.lerp(s, t, torch.addcmul(r[k, :size], c, length[k, :size]))
        h = (length[k, :size] * (t - s)).to(y.dtype)[:, None]
        if wanted is None:
            y, slope = repeat(rhs, y, slope, tau, h, numbers)
        else:
            step = partial(repeat, rhs, numbers=numbers)
            y, slope = Recomputed.apply(step, y, slope, tau, h, *wanted)
    value = torch.cat([y, *arrived[::-1]])
    if bool(failed.any()):
        value = torch.where(failed[:, None], torch.nan, value)
    if dense and not states:
        states.append(value.index_select(0, back))
    return value.index_select(0, back), torch.stack(states) if dense else None


class Recomputed(torch.autograd.Function):
    """A step that keeps its operands alone, and is gone through again for its gradient."""

    @staticmethod
    def forward(ctx: Any, step: Callable[..., tuple[Tensor, Tensor]], *operands: Tensor) -> tuple[Tensor, Tensor]:
        """The step, of the first four operands."""
        ctx.step = step
        ctx.save_for_backward(*operands)
        return step(*operands[:4])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the operands."""
        operands, wanted = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        needs = ctx.needs_input_grad[1:5]
        with torch.enable_grad():
            leaves = tuple(z.detach().requires_grad_(needed) for z, needed in zip(operands, needs, strict=True))
            values = ctx.step(*leaves)
            sources = [z for z in (*leaves, *wanted) if z.requires_grad]
            pairs = [(v, w) for v, w in zip(values, cotangents, strict=True) if v.requires_grad]
            ends, weights = zip(*pairs, strict=True)
            found = torch.autograd.grad(ends, sources, weights, allow_unused=True, retain_graph=True)
        gradients = iter(found)
        return None, *(next(gradients) if z.requires_grad else None for z in (*leaves, *wanted))


def _at_rest(field: Field, value: Tensor, y: Tensor, s: Tensor, t: Tensor, rows: Tensor) -> Tensor:
    """The samples with `s = t` with their slope in the times, `y + (t - s) rhs`; none where the field is not finite."""
    slope = field(rows)(s[rows], y[rows])
    slope = slope.masked_fill(~slope.isfinite(), 0)
    return value.index_add(0, rows, (t - s)[rows, None].to(y.dtype) * slope)


def _tell(starts: Starts, active: Active, path: Accepted) -> None:
    """Write down where the steps start; a sample without a step starts, and stays, at 0."""
    number = torch.arange(len(path.r), device=path.r.device)[:, None]
    starts.r = torch.where((number < active.steps) | (number == 0), path.r, torch.inf)
    starts.y = active.end[None] if path.y is None else path.y


def _plain(field: Field) -> Field:
    """The right-hand sides as numbers, inside a transform of `torch.func` or a graph too."""
    if not is_transformed():
        return field

    def numbers(rows: Tensor | None) -> Any:
        rhs = field(rows)
        return lambda tau, y: rhs(tau, y).detach()

    return numbers


def _refuse_vmap(*tensors: Tensor) -> None:
    if inside_vmap(*tensors):
        raise RuntimeError(
            "An adaptive solve chooses its steps by looking at its errors, so it works in no `vmap`; make the axis a "
            "part of the batch, or use a fixed-step method such as method='rk4'."
        )

"""Adaptive solves with a step size and an error per sample.

A solve goes through its steps without derivatives first, with an active set and rejections. Where derivatives are
wanted, the accepted steps are repeated with them: what is differentiated is the result of fixed steps, whose lengths
are constant fractions of `t - s`, so that reverse and forward mode are right to the tolerance of the solve in the
state, the parameters and both times, and no rejected step enters a derivative.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from flowops._derivatives import inside_vmap, is_tracked, is_transformed
from flowops._solvers.active import Accepted, Active, Field
from flowops._solvers.alone import under_way
from flowops._solvers.control import Control
from flowops._solvers.failures import Ends
from flowops._solvers.methods import Method
from flowops._solvers.repeated import repeat_steps, rest
from flowops._solvers.statistics import Statistics
from flowops._solvers.stepping import Plain

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
    """`_integrate`, left out of graphs: it looks at its errors.

    The compiler asks for every function that is called between two graphs, and cuts one that turns gradients off for a
    while where it looks at a number: gradients then stay off behind it.
    """
    compiles = torch.compiler.is_compiling() or "torch._dynamo" in sys.modules
    return (_outside_graphs if compiles else _integrate)(field, y, s, t, **options)


def _integrate(
    field: Field,
    y: Tensor,
    s: Tensor,
    t: Tensor,
    *,
    method: Method,
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
        method: the method.
        control: the tolerances.
        max_steps: a sample that needs more steps is given up.
        recompute: if given, keep only the states at which steps start for a gradient, and go through each step again
            for it; the tensors named are what it flows to besides the states and the times.
        first: the first step as a fraction of the interval; by Hairer's rule if not given.
        starts: takes where the steps start.

    Returns:
        The states at `t`, NaN where a sample failed; where each sample stopped; the work.
    """
    refuse_vmap(y, s, t)
    moving = (s != t).detach()
    active = under_way(_plain(field), y.detach(), s.detach(), t.detach(), method, control, max_steps)
    times_tracked = is_tracked(s) or is_tracked(t)
    tracked = _begin(active, field, y, s, moving, first) or times_tracked or is_tracked(y)
    with torch.no_grad():
        active.run(tracked or starts is not None, starts is not None and not tracked)
    ends, work = active.ends(), active.statistics(moving, 1 if first else 2)
    if not tracked:
        if starts is not None:
            _tell(starts, active, active.accepted())
        return torch.where(work.failed[:, None], torch.nan, active.end), ends, work
    path = active.accepted()
    value, states = repeat_steps(field, y, s, t, active, path, recompute, starts is not None)
    if starts is not None:
        path.y = states
        _tell(starts, active, path)
    if times_tracked and not bool(moving.all()):
        value = rest(field, value, y, s, t, (~moving).nonzero()[:, 0])
    return value, ends, work


def _begin(active: Active, field: Field, y: Tensor, s: Tensor, moving: Tensor, first: float | None) -> bool:
    """Let those that do not move leave, and choose the first steps of the others; whether their slopes are tracked."""
    rows = None if bool(moving.all()) else moving.nonzero()[:, 0]
    if rows is not None:
        active.step = moving.to(s.dtype)
        active.slope = torch.zeros_like(active.y)
        active.leave(None)
        if not len(rows):
            return False
    slope = field(rows)(*((s, y) if rows is None else (s[rows], y[rows])))
    refuse_vmap(slope)
    with torch.no_grad():
        active.start(_plain(field)(rows), slope.detach(), first)
    return is_tracked(slope)


_outside_graphs = _disable_dynamo(_integrate)  # unlike torch.compiler.disable, this does not load the compiler


def _tell(starts: Starts, active: Active, path: Accepted) -> None:
    """Write down where the steps start; a sample without a step starts, and stays, at 0."""
    number = torch.arange(len(path.r), device=path.r.device)[:, None]
    starts.r = torch.where((number < active.steps) | (number == 0), path.r, torch.inf)
    starts.y = active.end[None] if path.y is None else path.y


def _plain(field: Field) -> Field:
    """The right-hand sides as numbers, inside a transform of `torch.func` or a graph too."""
    return (lambda rows: Plain(field(rows))) if is_transformed() else field


def refuse_vmap(*tensors: Tensor) -> None:
    """An error if `vmap` maps over one of these."""
    if inside_vmap(*tensors):
        raise RuntimeError(
            "An adaptive solve chooses its steps by looking at its errors, so it works in no `vmap`; make the axis a "
            "part of the batch, or use a fixed-step method such as method='rk4'."
        )

"""The accepted steps of a solve again, with derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowops._derivatives import is_transformed
from flowops._solvers.active import Accepted, Active, Field
from flowops._solvers.methods import stepper_of


def repeat_steps(
    field: Field,
    y: Tensor,
    s: Tensor,
    t: Tensor,
    active: Active,
    path: Accepted,
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
    stepper = stepper_of(active.method, y)
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
        tau = torch.lerp(s, t, torch.addcmul(r[k, :size], active.c, length[k, :size]))
        h = (length[k, :size] * (t - s)).to(y.dtype)[:, None]
        if wanted is None:
            y, slope = stepper.repeat(rhs, y, slope, tau, h)
        else:
            step = partial(stepper.repeat, rhs)
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


def rest(field: Field, value: Tensor, y: Tensor, s: Tensor, t: Tensor, rows: Tensor) -> Tensor:
    """The samples with `s = t` with their slope in the times, `y + (t - s) rhs`; none where the field is not finite."""
    slope = field(rows)(s[rows], y[rows])
    slope = slope.masked_fill(~slope.isfinite(), 0)
    return value.index_add(0, rows, (t - s)[rows, None].to(y.dtype) * slope)

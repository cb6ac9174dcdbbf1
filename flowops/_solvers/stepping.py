"""One step of an embedded pair for a batch with a step size per sample, for speed or for derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._solvers.tableaus import Coefficients

RightHandSide = Callable[[Tensor, Tensor], Tensor]
"""`(tau, y) -> slope` for times `[batch]` and states `[batch, n]`."""


class Room:
    """Where the slopes of a step lie, times the length of the step: `all` is `[stages, batch n]`."""

    def __init__(self, stages: int, y: Tensor) -> None:
        slopes = y.new_empty(stages, *y.shape)
        self.shape = y.shape
        self.all = slopes.view(stages, y.numel())
        self.each = slopes.unbind(0)
        self.before = [self.all[:i].t() for i in range(stages)]


def attempt(
    rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor, room: Room, numbers: Coefficients
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A step without derivatives.

    Args:
        rhs: the right-hand side.
        y: states, `[batch, n]`.
        slope: their slopes.
        tau: the times of the stages, `[stages, batch]`.
        h: lengths of the steps, `[batch, 1]`, in the dtype of the states.
        room: overwritten.
        numbers: the pair.

    Returns:
        The end, its slope, the error estimates `[1 or 2, batch, n]`, and the stage before the end with its slope.
    """
    flat, stage, last, before = y.reshape(-1), y, slope, (y, slope)
    torch.mul(slope, h, out=room.each[0])
    for time, row, head, out in zip(tau.unbind(0)[1:], numbers.rows[1:], room.before[1:], room.each[1:], strict=True):
        before = (stage, last)
        stage = torch.addmv(flat, head, row).view(room.shape)
        last = rhs(time, stage)
        torch.mul(last, h, out=out)
    return stage, last, (numbers.errors @ room.all).view(-1, *room.shape), *before


def repeat(
    rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor, numbers: Coefficients
) -> tuple[Tensor, Tensor]:
    """The same step out of place, so that derivatives of every kind pass through it: its end and the slope there."""
    stages, stage = [slope * h], y
    for i in range(1, len(tau)):
        stage = y + (numbers.rows[i] @ torch.stack(stages).reshape(i, -1)).reshape(y.shape)
        slope = rhs(tau[i], stage)
        stages.append(slope * h)
    return stage, slope

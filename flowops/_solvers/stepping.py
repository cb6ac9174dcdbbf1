"""One step of an embedded pair for a batch with a step size per sample, for speed or for derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from flowops._solvers.tableaus import Coefficients, Embedded

RightHandSide = Callable[[Tensor, Tensor], Tensor]
"""`(tau, y) -> slope` for times `[batch]` and states `[batch, n]`."""

Attempt = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""The end of a step, its slope, the error estimates `[1 or 2, batch, n]`, the stage before the end with its slope."""


class Plain:
    """A right-hand side whose values carry no derivative from outside; `traced` is the one that does."""

    def __init__(self, traced: RightHandSide) -> None:
        self.traced = traced

    def __call__(self, tau: Tensor, y: Tensor) -> Tensor:
        """The slopes as numbers."""
        return self.traced(tau, y).detach()


@runtime_checkable
class Stepper(Protocol):
    """The steps of a method, for states of one dtype and device.

    Attributes:
        c: times of the stages as fractions of a step, from 0 to 1, `[stages, 1]`.
    """

    c: Tensor

    def attempt(self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor) -> Attempt:
        """A step without derivatives from states `[batch, n]` and their slopes.

        `tau` are the times of the stages, `[stages, batch]`, `h` the lengths of the steps, `[batch, 1]`.
        """

    def repeat(self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The same step, so that derivatives of every kind pass through it: its end and the slope there."""

    def calls(self, steps: Tensor, tried: Tensor) -> Tensor:
        """Evaluations of the right-hand side in so many steps that were accepted and tried."""


class Explicit:
    """The steps of an embedded pair."""

    def __init__(self, pair: Embedded, like: Tensor) -> None:
        self.pair, self.numbers = pair, pair.coefficients(like)
        self.c = self.numbers.c
        self.room: Room | None = None

    def attempt(self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor) -> Attempt:
        """A step in a room that is kept for the next."""
        if self.room is None or self.room.shape != y.shape:
            self.room = Room(self.pair.stages, y)
        return attempt(rhs, y, slope, tau, h, self.room, self.numbers)

    def repeat(self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The step out of place."""
        return repeat(rhs, y, slope, tau, h, self.numbers)

    def calls(self, steps: Tensor, tried: Tensor) -> Tensor:
        """All stages but the first, accepted or not."""
        return tried * (self.pair.stages - 1)


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
) -> Attempt:
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

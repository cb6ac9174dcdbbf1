"""A batch of one small sample in the memory of the host: the steps of `Active` in numbers of NumPy and Python.

An operation of torch on a few numbers takes microseconds, one of NumPy a third of one. The field alone is asked in
torch; states, slopes and errors are arrays, places and steps are floats, rounded to the dtype of the times.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowops._derivatives import is_transformed
from flowops._solvers.active import LOOK, PATIENCE, STREAK, Active, Field
from flowops._solvers.control import GROW, Control
from flowops._solvers.failures import EXHAUSTED, REACHED, SINGULAR, STIFF, VANISHED
from flowops._solvers.methods import Method
from flowops._solvers.stepping import RightHandSide
from flowops._solvers.tableaus import Embedded

_SMALL = 4096  # the numbers of a state above which a step takes longer than its calls

Array = NDArray[np.floating]


def under_way(
    field: Field, y: Tensor, s: Tensor, t: Tensor, method: Method, control: Control, max_steps: int
) -> Active:
    """A batch at its start: `Alone` for one small sample on the host and an explicit pair."""
    host = type(y) is Tensor and y.device.type == "cpu" and not is_transformed()
    alone = host and len(y) == 1 and 0 < y.numel() <= _SMALL and isinstance(method, Embedded)
    return (Alone if alone else Active)(field, y, s, t, method, control, max_steps)


class Alone(Active):
    """One sample under way, by the arithmetic of a batch up to rounding."""

    @np.errstate(all="ignore")
    def run(self, keep: bool, dense: bool) -> None:
        """Step until the sample has arrived or failed; `keep` logs the accepted steps, `dense` their states too."""
        if not len(self.rows):
            return
        exact: Callable[[float], float] = float if self.s.dtype == torch.float64 else _single
        eps = torch.finfo(self.s.dtype).eps
        H, step, r, ceiling = (self.t - self.s).item(), self.step.item(), 0.0, GROW
        trial = Trial(self)
        log: list[tuple[float, float, Array]] = []
        tried, streak, status = 0, 0, REACHED
        while step and not status and tried < self.max_steps:
            tried += 1
            h = exact(step * H)
            error = trial(r, step, h)
            accept = error <= 1
            ratio = trial.stiffness(h) if tried > PATIENCE and tried % LOOK == 0 else None
            if accept:
                log.append((r, step, trial.y))
                trial.accept()
                r = exact(r + step)
            left = exact(1 - r)
            step = exact(step * self.control.factor_of_one(error, ceiling))
            if exact(step * 1.01) >= left:
                step = left
            ceiling = GROW if accept else 1.0
            if step < left and step <= max(exact(r * eps), eps**2):
                status = VANISHED if math.isfinite(error) else SINGULAR
            if ratio is not None:
                streak = streak + 1 if ratio > 0.9 * self.method.boundary else max(0, streak - 1)
                self.stiff |= int(streak >= STREAK)
                if streak >= STREAK and left > step * (self.max_steps - tried):
                    status = STIFF
        if step and not status:
            status = STIFF if streak >= STREAK else EXHAUSTED
        if keep:
            self.log.append(_entry(log, self.r, dense))
        self.y, self.r = torch.from_numpy(trial.y), torch.full_like(self.r, r)
        self.own_steps, self.own_tried = (torch.full_like(self.rows, k) for k in (len(log), tried))
        self.step = torch.zeros_like(self.step)
        self.leave(torch.full_like(self.rows, status))


def _entry(log: list[tuple[float, float, Array]], like: Tensor, dense: bool) -> tuple[Tensor, ...]:
    """All accepted steps of one sample as one entry of the log of a batch."""
    own = torch.arange(len(log))
    numbers = (like.new_tensor([step[k] for step in log]) for k in (0, 1))
    states = (torch.cat([torch.from_numpy(y) for _, _, y in log]),) if dense and log else ()
    return torch.zeros_like(own), own, *numbers, own >= 0, *states


class Trial:
    """The steps that one sample tries: where it stands, `[1, n]`, and where the last trial ended."""

    def __init__(self, active: Active) -> None:
        assert isinstance(active.method, Embedded)
        assert active.rhs is not None
        self.rhs: RightHandSide = active.rhs
        self.control, self.s, self.t, self.c = active.control, active.s, active.t, active.c.numpy()
        numbers = active.method.coefficients(active.y)
        self.y, self.slope = active.y.numpy(force=True), active.slope.numpy(force=True)
        self.slopes = np.empty((active.method.stages, self.y.shape[1]), self.y.dtype)  # times the length of the step
        self.stages = [
            (row[None].numpy(), self.slopes[:i], self.slopes[i : i + 1]) for i, row in enumerate(numbers.rows) if i
        ]
        self.errors = numbers.errors.numpy()

    def __call__(self, r: float, step: float, h: float) -> float:
        """Step from the place `r`, and give the error in units of the tolerance."""
        times = torch.lerp(self.s, self.t, torch.from_numpy(self.c * step + r)).unbind()
        stage, last, y, rhs = self.y, self.slope, self.y, self.rhs
        previous = stage, last
        np.multiply(last, h, out=self.slopes[:1])
        for time, (row, before, own) in zip(times[1:], self.stages, strict=True):
            previous = stage, last
            stage = row.dot(before)
            stage += y
            last = rhs(time, torch.from_numpy(stage)).numpy(force=True)
            np.multiply(last, h, out=own)
        self.previous, self.end, self.end_slope = previous, stage, last
        # An end at which the field is not finite is none: 0 times its slope is NaN, so is the error.
        return self.control.error_of_one(self.errors.dot(self.slopes), y, stage) + 0 * float(last.sum())

    def accept(self) -> None:
        """Stand where the last trial ended."""
        self.y, self.slope = self.end, self.end_slope

    def stiffness(self, h: float) -> float:
        """`|h| |f(y) - f(z)| / |y - z|` of the last two stages of the trial."""
        stage, slope = self.previous
        apart, bend = (float(np.abs(z).max()) for z in (self.end - stage, self.end_slope - slope))
        return abs(h) * bend / apart if apart else 0.0


def _single(value: float) -> float:
    """A number rounded to float32."""
    return float(np.float32(value))

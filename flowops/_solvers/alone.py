"""A batch of one small sample in the memory of the host: the steps of `Active` in numbers of NumPy and Python.

An operation of torch on a few numbers takes microseconds, one of NumPy a third of one. The field alone is asked in
torch; states, slopes and errors are arrays, places and steps are floats, rounded to the dtype of the times.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowops._derivatives import is_transformed
from flowops._solvers.active import LOOK, PATIENCE, STREAK, Active, Field
from flowops._solvers.control import GROW, Control
from flowops._solvers.failures import EXHAUSTED, REACHED, SINGULAR, STIFF, VANISHED
from flowops._solvers.methods import Method
from flowops._solvers.trials import Array, trial_of

_SMALL = 4096  # the numbers of a state above which a step takes longer than its calls


def under_way(
    field: Field, y: Tensor, s: Tensor, t: Tensor, method: Method, control: Control, max_steps: int
) -> Active:
    """A batch at its start: `Alone` for one small sample on the host."""
    host = type(y) is Tensor and y.device.type == "cpu" and not is_transformed()
    alone = host and len(y) == 1 and 0 < y.numel() <= _SMALL
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
        trial = trial_of(self)
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


def _single(value: float) -> float:
    """A number rounded to float32."""
    return float(np.float32(value))

"""The steps that one small sample tries, in numbers of NumPy: those of a pair and of a Rosenbrock-Wanner method.

The arithmetic is that of `Explicit` and `Linearized` up to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowops._solvers.active import Active
from flowops._solvers.linearized import Linearized
from flowops._solvers.rosenbrock import Rosenbrock
from flowops._solvers.stepping import RightHandSide
from flowops._solvers.tableaus import Embedded

Array = NDArray[np.floating]


class Trial(ABC):
    """Where one sample stands, `[1, n]`, and where its last trial ended.

    Attributes:
        end: the state there.
        end_slope: its slope.
        previous: the stage before, and its slope.
    """

    end: Array
    end_slope: Array
    previous: tuple[Array, Array]

    def __init__(self, active: Active) -> None:
        assert active.rhs is not None
        self.rhs: RightHandSide = active.rhs
        self.control, self.s, self.t, self.c = active.control, active.s, active.t, active.c.numpy()
        self.y, self.slope = active.y.numpy(force=True), active.slope.numpy(force=True)

    def __call__(self, r: float, step: float, h: float) -> float:
        """Step from the place `r`, and give the error in units of the tolerance."""
        times = torch.lerp(self.s, self.t, torch.from_numpy(self.c * step + r)).unbind()
        estimates = self.attempt(times, h)
        # An end at which the field is not finite is none: 0 times its slope is NaN, so is the error.
        return self.control.error_of_one(estimates, self.y, self.end) + 0 * float(self.end_slope.sum())

    @abstractmethod
    def attempt(self, times: tuple[Tensor, ...], h: float) -> Array:
        """Set `end`, `end_slope` and `previous`; the error estimates, `[1 or 2, n]`."""

    def ask(self, time: Tensor, stage: Array) -> Array:
        """The slope of a stage."""
        return self.rhs(time, torch.from_numpy(stage)).numpy(force=True)

    def accept(self) -> None:
        """Stand where the last trial ended."""
        self.y, self.slope = self.end, self.end_slope

    def stiffness(self, h: float) -> float:
        """`|h| |f(y) - f(z)| / |y - z|` of the last two stages of the trial."""
        stage, slope = self.previous
        apart, bend = (float(np.abs(z).max()) for z in (self.end - stage, self.end_slope - slope))
        return abs(h) * bend / apart if apart else 0.0


class ExplicitTrial(Trial):
    """A step of an embedded pair."""

    def __init__(self, active: Active, pair: Embedded) -> None:
        super().__init__(active)
        numbers = pair.coefficients(active.y)
        self.slopes = np.empty((pair.stages, self.y.shape[1]), self.y.dtype)  # times the length of the step
        self.stages = [
            (row[None].numpy(), self.slopes[:i], self.slopes[i : i + 1]) for i, row in enumerate(numbers.rows) if i
        ]
        self.errors = numbers.errors.numpy()

    def attempt(self, times: tuple[Tensor, ...], h: float) -> Array:
        """All stages but the first, whose slope is known."""
        stage, last = self.y, self.slope
        np.multiply(last, h, out=self.slopes[:1])
        for time, (row, before, own) in zip(times[1:], self.stages, strict=True):
            self.previous = stage, last
            stage = row.dot(before)
            stage += self.y
            last = self.ask(time, stage)
            np.multiply(last, h, out=own)
        self.end, self.end_slope = stage, last
        return self.errors.dot(self.slopes)


class LinearTrial(Trial):
    """A step of a Rosenbrock-Wanner method; the Jacobian is kept until the sample moves."""

    def __init__(self, active: Active, method: Rosenbrock) -> None:
        from scipy.linalg import get_lapack_funcs

        super().__init__(active)
        self.stepper = Linearized(method, active.y)
        numbers = self.stepper.weights
        self.rows = [row.numpy() for row in numbers.rows]
        self.gamma, self.drift = numbers.gamma, numbers.drift
        self.moved = np.empty((method.stages, self.y.shape[1]), self.y.dtype)
        self.eye = np.eye(self.y.shape[1], dtype=self.y.dtype)
        self.factor, self.solve = get_lapack_funcs(("getrf", "getrs"), (self.eye,))
        self.known: tuple[Array, Array] | None = None

    def attempt(self, times: tuple[Tensor, ...], h: float) -> Array:
        """A linear equation a stage."""
        if self.known is None:
            numbers = self.stepper.numbers(self.rhs, times[0], torch.from_numpy(self.y))
            self.known = numbers[0].numpy()[0], numbers[1].numpy()[0]
        drift, J = self.known
        hg = h * self.gamma
        lu, pivots, _ = self.factor(self.eye - hg * J)
        slope = self.slope
        for i, d in enumerate(self.drift):
            if i:
                change, pull = self.rows[i].dot(self.moved[:i])
                slope = self.ask(times[i], self.y + change)
                force = pull + hg * slope[0]
            else:
                force = hg * slope[0]
            if d:
                force = force + d * h * hg * drift
            self.moved[i] = self.solve(lu, pivots, force)[0]
        change, estimate = self.rows[-1].dot(self.moved)
        self.previous = self.y, self.slope
        self.end = self.y + change
        self.end_slope = self.ask(times[-1], self.end)
        return estimate[None]

    def accept(self) -> None:
        """Stand where the last trial ended, where the Jacobian is another."""
        super().accept()
        self.known = None


def trial_of(active: Active) -> Trial:
    """The steps of the method of a sample under way."""
    method = active.method
    return ExplicitTrial(active, method) if isinstance(method, Embedded) else LinearTrial(active, method)

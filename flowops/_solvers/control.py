"""Step sizes: the error of a step against its tolerance, the first step, the next one. One number a sample.

Steps are fractions of the interval from `s` to `t`, so that `H = t - s` times a slope is the derivative in them.
Source: Hairer, Nørsett, Wanner, Solving ODEs I, §II.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating]

SAFETY, SHRINK, GROW = 0.75, 0.2, 10.0


@dataclass(frozen=True)
class Control:
    """Tolerances, and how steps follow from errors.

    Attributes:
        rtol, atol: the error of a component may be `atol + rtol |y|`.
        rate: the error of a step `h` is O(h^rate).
    """

    rtol: float
    atol: float
    rate: int

    def scale(self, size: Tensor) -> Tensor:
        """The tolerances of components of this size."""
        return torch.add(size * self.rtol, self.atol)

    def error(self, estimates: Tensor, y: Tensor, end: Tensor) -> Tensor:
        """The worst component of each sample in units of its tolerance, `[batch]`; `estimates` is `[1 or 2, batch, n]`.

        Two estimates of orders 5 and 3 make one of order 7, `e5^2 / sqrt(e5^2 + 0.01 e3^2)` (§II.10).
        """
        scale = self.scale(torch.maximum(y.abs(), end.abs()))
        worst = (estimates.abs() / scale).amax(-1)
        if len(worst) == 1:
            return worst[0]
        fine, coarse = worst
        return fine.square() / torch.hypot(fine, 0.1 * coarse).clamp_min(torch.finfo(fine.dtype).tiny)

    def factor(self, error: Tensor, ceiling: Tensor) -> Tensor:
        """By what the next step is longer than one of this error; a step that is not finite shrinks most."""
        factor = (error ** (-1 / self.rate)).mul_(SAFETY).nan_to_num_(nan=0.0)
        return torch.minimum(factor.clamp_min_(SHRINK), ceiling)

    def error_of_one(self, estimates: Array, y: Array, end: Array) -> float:
        """`error` of one sample in the memory of the host; `estimates` is `[1 or 2, n]`."""
        scale = np.maximum(np.abs(y), np.abs(end)) * self.rtol + self.atol
        worst = (np.abs(estimates) / scale).max(1).tolist()
        if len(worst) == 1:
            return float(worst[0])
        fine, coarse = worst
        return fine * fine / max(math.hypot(fine, 0.1 * coarse), np.finfo(y.dtype).tiny)

    def factor_of_one(self, error: float, ceiling: float) -> float:
        """`factor` of one sample."""
        if not error:
            return ceiling
        factor = SAFETY * error ** (-1 / self.rate)
        return min(max(factor, SHRINK), ceiling) if error == error else SHRINK


def first_length(y: Tensor, slope: Tensor, control: Control) -> tuple[Tensor, Tensor, Tensor]:
    """A step on which `y` changes by a hundredth, `[batch]`, with the scale and the size of the slope; `slope` in r."""
    scale = control.scale(y.abs())
    size, speed = (y.abs() / scale).amax(1), (slope.abs() / scale).amax(1)
    length = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed)
    return length.clamp(max=1), scale, speed


def first_step(length: Tensor, speed: Tensor, change: Tensor, scale: Tensor, rate: int) -> Tensor:
    """Hairer's first step from a probe of `length` over which the slope changed by `change`."""
    bend = (change.abs() / scale).amax(1) / length
    most = torch.maximum(speed, bend)
    guess = torch.where(most <= 1e-15, (1e-3 * length).clamp(min=1e-6), (0.01 / most) ** (1 / rate))
    return torch.where(guess.isfinite(), torch.minimum(100 * length, guess), length).clamp(max=1)

r"""Monte-Carlo intervals of means over samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A number that is known from samples.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
        level: how often such an interval holds the number, by the normal approximation of a mean.
    """

    value: float
    low: float
    high: float
    level: float

    @classmethod
    def of_mean(cls, values: Tensor, level: float = LEVEL) -> Interval:
        """Of the mean of independent draws, `[n]` with `n` of at least two.

        Raises:
            ValueError: for fewer draws, or a level that is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"`level` must lie between 0 and 1, got {level}; pass 0.95.")
        if values.numel() < 2:
            raise ValueError(f"`values` must hold at least two draws, got {values.numel()}; draw more samples.")
        numbers = values.double()
        mean = float(numbers.mean())
        half = NormalDist().inv_cdf((1 + level) / 2) * float(numbers.std()) / math.sqrt(len(numbers))
        return cls(mean, mean - half, mean + half, level)

    def through(self, f: Callable[[float], float]) -> Interval:
        """Of an increasing function of the number."""
        return Interval(f(self.value), f(self.low), f(self.high), self.level)

    def root(self) -> Interval:
        """Of the square root of a number that is not negative."""
        return self.through(lambda value: math.sqrt(max(0.0, value)))

    def __add__(self, other: Interval) -> Interval:
        """Of a sum: both hold with at least the level that is left (Bonferroni)."""
        level = self.level + other.level - 1
        return Interval(self.value + other.value, self.low + other.low, self.high + other.high, level)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

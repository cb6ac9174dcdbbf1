"""Scales of guidance, and intervals of times at which it acts, that are drawn per sample and told to the map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import number


@dataclass(frozen=True)
class PowerLaw:
    r"""Scales $w$ between `low` and `high` of a density proportional to $w^{-p}$: uniform for $p=0$.

    Raises:
        ValueError: unless both are finite and do not fall, and for $p\ne0$ are positive.

    Source: iMF 2512.02012, whose code has $p=1$ on [1, 8], where $\log w$ is uniform.
    """

    low: float
    high: float
    power: float = 0.0

    def __post_init__(self) -> None:
        low, high = number(self.low, "low"), number(self.high, "high")
        if not -math.inf < low <= high < math.inf or (number(self.power, "power") and low <= 0):
            raise ValueError(
                f"`low` and `high` must be finite scales that do not fall, positive with a power, got {self}; pass "
                f"PowerLaw(1.0, 8.0, 1.0), say."
            )

    def quantile(self, u: Tensor) -> Tensor:
        """The scale below which a share `u` of them lies."""
        if not self.power:
            return self.low + (self.high - self.low) * u
        if self.power == 1:
            return self.low * (self.high / self.low) ** u
        q = 1 - self.power
        return (self.low**q + (self.high**q - self.low**q) * u) ** (1 / q)


@dataclass(frozen=True)
class RandomInterval:
    r"""Intervals with ends that are uniform on $[0,m]$ and on $[m,1]$, $m$ the `middle`.

    Raises:
        ValueError: unless the middle lies in (0, 1).

    Source: iMF 2512.02012, whose code has $m=\tfrac12$; its clock runs from the data, its interval is ours mirrored.
    """

    middle: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < number(self.middle, "middle") < 1:
            raise ValueError(f"`middle` must lie in (0, 1), got {self.middle}; pass 0.5.")

    def quantile(self, u: Tensor) -> Tensor:
        """The intervals of uniform numbers, both `[batch, 2]`."""
        low, high = u.unbind(1)
        return torch.stack([self.middle * low, self.middle + (1 - self.middle) * high], 1)


def whole_at_one(scales: Tensor, intervals: Tensor) -> Tensor:
    """The intervals, and (0, 1) for samples of scale 1, which no interval changes: so the map is told one only."""
    low, high = intervals.unbind(1)
    return torch.stack([low.masked_fill(scales == 1, 0.0), high.masked_fill(scales == 1, 1.0)], 1)


def at_one(told: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a map is told for the scale 1, where it is told these."""
    if "guidance" not in told:
        return {}
    one = torch.ones_like(told["guidance"])
    return {"guidance": one} | ({"interval": whole_at_one(one, told["interval"])} if "interval" in told else {})


def share_of_own(mix: Any, scale: Tensor) -> Tensor:
    r"""$\kappa$ per sample, none at scale 1; `"unit"` is $1-1/w$, with which $\dot I_s$ counts once."""
    return 1 - 1 / scale if mix == "unit" else torch.zeros_like(scale).masked_fill(scale != 1, mix)

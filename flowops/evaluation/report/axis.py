"""An axis: from values to places in a drawing, and the values at which it has ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

_TICKS = 6  # at most about as many
_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """Values between `low` and `high`, shown between the places `start` and `end`.

    Attributes:
        low: the least value.
        high: the largest.
        start: where the least is.
        end: where the largest is.
        logarithmic: whether equal quotients are shown as equal distances.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def over(
        cls, values: Iterable[float], start: float, end: float, *, logarithmic: bool = False, room: float = 0.04
    ) -> Self:
        """The axis of some values, of which only those that it can show count; a share `room` is left at both ends."""
        held = [v for v in values if math.isfinite(v) and (v > 0 or not logarithmic)]
        low, high = (min(held), max(held)) if held else (1.0, 10.0) if logarithmic else (0.0, 1.0)
        if logarithmic:
            if high < 3 * low:
                low, high = low / 1.5, high * 1.5
            spread = math.log(high / low)
            return cls(low * math.exp(-room * spread), high * math.exp(room * spread), start, end, True)
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            low, high = low - max(1e-3, abs(low)) / 2, high + max(1e-3, abs(high)) / 2
        return cls(low - room * (high - low), high + room * (high - low), start, end)

    def __call__(self, value: float) -> float | None:
        """Where a value is; None if it cannot be shown."""
        if not math.isfinite(value) or (self.logarithmic and value <= 0):
            return None
        low, high, at = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Places with the numbers that stand there."""
        for value in self._decades() if self.logarithmic and self.high > 7 * self.low else self._rounds():
            if self.low <= value <= self.high and (at := self(value)) is not None:
                yield at, shown(value)

    def _rounds(self) -> list[float]:
        wide = (self.high - self.low) / _TICKS
        unit = 10.0 ** math.floor(math.log10(wide))
        step = next(unit * factor for factor in _STEPS if unit * factor >= 0.999 * wide)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / _TICKS))
        factors = _STEPS[:3] if last - first <= 2 else _STEPS[:1]
        return [factor * 10.0**k for k in range(first, last + 1, every) for factor in factors]


def shown(value: float) -> str:
    """A number in a few characters: powers of ten as such."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}"
    digits, _, power = f"{value:.0e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if digits == "1" else f"{digits}·10{raised}"

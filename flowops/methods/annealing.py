"""How the step of `alpha-flow` falls during the training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from flowops._arguments import number

CLAMP = 0.005  # of the sigmoid, as in its paper: nearer to 1 or 0 it is there
SLOPE = 25.0  # of the sigmoid over the interval


class Annealing(ABC):
    """A number in [0, 1] that falls with the step of the training."""

    @abstractmethod
    def at(self, step: int | None) -> float:
        """Its value at a step; None means the end."""


def _check(start: object, end: object) -> None:
    steps = all(isinstance(step, int) and not isinstance(step, bool) for step in (start, end))
    if not steps or not 0 <= start < end:  # type: ignore[operator]
        raise ValueError(
            f"`anneal` must be two increasing numbers of steps, got {start!r} and {end!r}; pass 0, 100000."
        )


@dataclass(frozen=True)
class Sigmoid(Annealing):
    r"""$1-\sigma\big(25(\tfrac{k-k_0}{k_1-k_0}-\tfrac12)\big)$ at the step $k$, exactly 1 before and 0 after it.

    Args:
        start: $k_0$.
        end: $k_1$.

    Raises:
        ValueError: unless both are whole numbers and $0\le k_0<k_1$.

    Source: 2510.20771.
    """

    start: int = 0
    end: int = 100_000

    def __post_init__(self) -> None:
        _check(self.start, self.end)

    def at(self, step: int | None) -> float:
        if step is None or step >= self.end:
            return 0.0
        value = 1 - 1 / (1 + math.exp(-SLOPE * ((step - self.start) / (self.end - self.start) - 0.5)))
        return 1.0 if value > 1 - CLAMP else 0.0 if value < CLAMP else value


@dataclass(frozen=True)
class Exponential(Annealing):
    r"""$a_0(a_1/a_0)^{(k-k_0)/(k_1-k_0)}$ at the step $k$, constant before and after: it ends above 0, without a limit.

    Args:
        start: $k_0$.
        end: $k_1$.
        first: $a_0$.
        floor: $a_1$.

    Raises:
        ValueError: unless the steps are whole numbers with $0\le k_0<k_1$, and $0<a_1\le a_0\le1$.

    Source: SoFlow 2512.15657, whose recipe for CIFAR-10 the defaults are (its public configuration).
    """

    start: int = 0
    end: int = 800_000
    first: float = 1.0
    floor: float = 3.125e-4

    def __post_init__(self) -> None:
        _check(self.start, self.end)
        if not 0 < number(self.floor, "floor") <= number(self.first, "first") <= 1:
            raise ValueError(
                f"`first` and `floor` must be falling in (0, 1], got {self.first} and {self.floor}; pass 1.0 and 1e-3."
            )

    def at(self, step: int | None) -> float:
        done = 1.0 if step is None else min(max((step - self.start) / (self.end - self.start), 0.0), 1.0)
        return self.first * (self.floor / self.first) ** done


NAMED: dict[str, Annealing] = {"sigmoid": Sigmoid(), "exponential": Exponential()}


def as_annealing(value: object) -> Annealing:
    """An annealing, one of `NAMED` by name, or a pair of steps for the sigmoid."""
    if isinstance(value, Annealing):
        return value
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    if isinstance(value, tuple) and len(value) == 2:
        return Sigmoid(*value)
    raise ValueError(
        f"`anneal` must be an annealing, one of {', '.join(NAMED)}, or two numbers of steps, got {value!r}; pass "
        f"Exponential(0, 100_000), for instance."
    )

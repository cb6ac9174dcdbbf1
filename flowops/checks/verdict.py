"""What a check says of one statement, and the place where it is worst."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor

HOLDS: Final = "holds"
FAILS: Final = "FAILS"
UNDECIDED: Final = "not decided"
DIFFERS: Final = "differs"
MEASURED: Final = "measured"
Outcome = Literal["holds", "FAILS", "not decided", "differs", "measured"]
_SHOWN: Final = 6  # numbers of a state that are printed; of a larger one the worst


@dataclass(frozen=True)
class Place:
    """Where the two sides of an equation are farthest apart, for their size.

    Attributes:
        times: the times by name, such as s and t.
        x: the state, the shape of one event.
        left: the left side there, an event or a number.
        right: the right side.
        of: which of several equations, such as the rule `jvp`; empty for the only one.
    """

    times: Mapping[str, float]
    x: Tensor
    left: Tensor
    right: Tensor
    of: str = ""

    def __str__(self) -> str:
        """The times, the state and both sides, in one line; of large states the component that is farthest off."""
        worst = (self.left - self.right).abs().nan_to_num(nan=math.inf).reshape(-1).argmax()
        where = [f"{name} = {time:.10g}" for name, time in self.times.items()]
        where.append(f"x = {_shown(self.x)}")
        sides = [
            f"{name} side {_shown(side, int(worst))}" for name, side in (("left", self.left), ("right", self.right))
        ]
        return f"{self.of + ', ' if self.of else ''}{', '.join(where)}: {', '.join(sides)}"


@dataclass(frozen=True)
class Verdict:
    """What a check says of one statement.

    Attributes:
        statement: its name and its equation.
        source: where it is stated.
        outcome: "holds", "FAILS", "not decided", "differs" for what does not hold and was not asked for, or "measured"
            for what is never exact and is told as a size.
        residual: the largest difference of the two sides, in units of their size and of what errors grow by on the way;
            of what is measured the root mean square of the difference over that of the larger side; NaN where nothing
            was compared.
        tolerance: what the residual may reach; NaN where nothing is asked of it.
        place: where it is largest.
        reason: why it is not decided, or why it fails where there is no place; a remark where it holds.
    """

    statement: str
    source: str
    outcome: Outcome
    residual: float = math.nan
    tolerance: float = math.nan
    place: Place | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The statement without its equation."""
        return self.statement.partition(":")[0]

    @property
    def size(self) -> float:
        """The residual in units of its tolerance."""
        return self.residual / self.tolerance

    @property
    def detail(self) -> str:
        """Where it fails and why, what one should know where it holds; empty if nothing."""
        where = [str(self.place)] if self.outcome == FAILS and self.place is not None else []
        return "; ".join([*where, *[self.reason] * bool(self.reason)])

    def __str__(self) -> str:
        """One sentence."""
        if self.outcome == HOLDS:
            return f"{self.statement} holds" + (f" ({self.reason})." if self.reason else ".")
        if self.outcome == MEASURED:
            return f"{self.statement} is off by {self.residual:.3g}, relatively."
        if self.outcome != FAILS or self.place is None:
            said = {UNDECIDED: "is not decided", FAILS: "fails", DIFFERS: "differs"}[self.outcome]
            return f"{self.statement} {said}: {self.reason}."
        because = f" ({self.reason})" if self.reason else ""
        return (
            f"{self.statement} fails at {self.place}; residual {self.residual:.3g} exceeds "
            f"{self.tolerance:.3g}{because}. Source: {self.source}."
        )


def _shown(value: Tensor, worst: int | None = None) -> str:
    numbers = value.detach().double().reshape(-1)
    if len(numbers) == 1:
        return f"{numbers[0]:.10g}"
    if len(numbers) <= _SHOWN:
        return f"({', '.join(f'{number:.10g}' for number in numbers)})"
    if worst is not None:
        return f"{numbers[worst]:.10g} in component {worst} of {len(numbers)}"
    return f"({', '.join(f'{number:.6g}' for number in numbers[:3])}, ... {len(numbers)} numbers)"

"""The verdicts on one object, in their logical order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flowops.checks.verdict import DIFFERS, FAILS, HOLDS, MEASURED, UNDECIDED, Verdict


@dataclass(frozen=True)
class Report:
    """What the checks say of one object.

    Printed, it is a table and a sentence that names the first broken equation: what stands before it holds, and what
    follows rests on it.

    Attributes:
        name: what the object is called.
        verdicts: one for each statement, in logical order.
        remarks: what one should know of the object that may be sound all the same, a sentence each.
    """

    name: str
    verdicts: tuple[Verdict, ...]
    remarks: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The statements that fail."""
        return tuple(v for v in self.verdicts if v.outcome == FAILS)

    @property
    def undecided(self) -> tuple[Verdict, ...]:
        """The statements of which nothing could be said."""
        return tuple(v for v in self.verdicts if v.outcome == UNDECIDED)

    @property
    def holds(self) -> bool:
        """Whether something holds and nothing fails."""
        return not self.failures and any(v.outcome == HOLDS for v in self.verdicts)

    @property
    def first_broken(self) -> Verdict | None:
        """The first statement that fails, in logical order."""
        return next(iter(self.failures), None)

    def sentence(self) -> str:
        """The first broken equation with its place; or that nothing is broken; what is not decided, and remarks."""
        first, others = self.first_broken, [v.name for v in self.failures[1:]]
        if first is not None:
            said = f"{self.name}, first broken equation: {first.name}. {first}"
            said += f" After it fail {', '.join(others)}." if others else ""
        elif self.holds:
            worst = max((v for v in self.verdicts if v.size == v.size), key=lambda v: v.size, default=None)
            where = (
                "" if worst is None else f"; the largest residual is {worst.size:.2g} of its tolerance, {worst.name}"
            )
            decided = "everything holds" if not self.undecided else "what could be decided holds"
            if any(v.outcome == MEASURED for v in self.verdicts):
                decided = "what must be exact holds" + ", as far as it could be decided" * bool(self.undecided)
            said = f"{self.name}: {decided}{where}."
        else:
            said = f"{self.name}: nothing could be decided."
        sizes = [f"{v.name} {v.residual:.2g}" for v in self.verdicts if v.outcome == MEASURED]
        measured = [f"Measured, root mean squares over those of the larger sides: {', '.join(sizes)}."] if sizes else []
        beside = (v for v in self.verdicts if v.outcome in (UNDECIDED, DIFFERS) or (v.outcome == HOLDS and v.reason))
        return " ".join([said, *measured, *map(str, beside)])

    def __str__(self) -> str:
        """The table, the sentence, and the remarks."""
        return "\n".join([*table(self.verdicts), "", self.sentence(), *(f"Note: {said}." for said in self.remarks)])


class Row(Protocol):
    """What a line of a table tells."""

    @property
    def statement(self) -> str: ...
    @property
    def residual(self) -> float: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def outcome(self) -> str: ...
    @property
    def source(self) -> str: ...


def table(verdicts: Sequence[Row]) -> list[str]:
    """Lines of equal columns: statement, worst residual, tolerance, verdict, source."""
    rows = [("statement", "residual", "tolerance", "verdict", "source")]
    rows += [(v.statement, _number(v.residual), _number(v.tolerance), v.outcome, v.source) for v in verdicts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(value: float) -> str:
    return "" if value != value else f"{value:.1e}"

"""What a section of a page is made of: sentences, verdicts, tables, figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from flowops.checks import Report, Verdict
from flowops.checks.report import table
from flowops.checks.verdict import FAILS, HOLDS, MEASURED, UNDECIDED
from flowops.evaluation.report.axis import shown
from flowops.evaluation.report.formula import typeset

SIGNS: Mapping[str, str] = {HOLDS: "✓", FAILS: "✗", UNDECIDED: "?", MEASURED: "≈"}
"""Beside the word, so that no verdict is told by its colour alone."""


@dataclass(frozen=True)
class Judged:
    """A statement and what was found of it: a line of a table, a test case of JUnit.

    Attributes:
        statement: name and equation.
        source: where it is stated.
        residual: the observed value; NaN where nothing was compared.
        tolerance: what it may reach; NaN where nothing is asked of it.
        outcome: "holds", "FAILS", "not decided", "differs" or "measured".
        detail: where and why; empty if nothing is to be said.
        checks: how many checks stand behind it.
        seconds: of processor time; NaN if not known.
    """

    statement: str
    source: str
    residual: float
    tolerance: float
    outcome: str
    detail: str = ""
    checks: int = 1
    seconds: float = math.nan

    @classmethod
    def of(cls, v: Verdict) -> Self:
        """That of a check."""
        return cls(v.statement, v.source, v.residual, v.tolerance, v.outcome, v.detail)

    @property
    def formula(self) -> str:
        """The statement as HTML."""
        return typeset(self.statement)

    @property
    def cells(self) -> tuple[str, str, str]:
        """Observed value, tolerance and verdict, as they are read."""
        sign = SIGNS.get(self.outcome, "≠")
        return number(self.residual), number(self.tolerance), f"{sign} {self.outcome}"


@dataclass(frozen=True)
class Paragraph:
    """A sentence or several."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on one object.

    Attributes:
        name: what it is called.
        rows: the statements, in logical order.
        sentence: what they come to.
        remarks: what one should know beside them.
    """

    kind: ClassVar[str] = "verdicts"
    name: str
    rows: tuple[Judged, ...]
    sentence: str = ""
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, report: Report) -> Self:
        """Those of a report."""
        return cls(report.name, tuple(map(Judged.of, report.verdicts)), report.sentence(), report.remarks)

    @property
    def holds(self) -> bool:
        """Whether something holds and nothing fails."""
        outcomes = {row.outcome for row in self.rows}
        return FAILS not in outcomes and HOLDS in outcomes

    def text(self) -> str:
        """The table for a terminal, the sentence and the remarks."""
        return "\n".join([*table(self.rows), "", self.sentence, *(f"Note: {said}." for said in self.remarks)])


@dataclass(frozen=True)
class Table:
    """Words and numbers in columns.

    Attributes:
        caption: what it shows.
        header: names of the columns.
        rows: as many cells each.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing with what it shows, and the numbers behind it.

    Attributes:
        caption: a sentence.
        drawing: an SVG element, an image that holds its own data, or a formula in MathML; it is not escaped.
        data: what JSON tells in its place.
        wide: whether it takes the whole width of a page.
    """

    kind: ClassVar[str] = "figure"
    caption: str
    drawing: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    wide: bool = False

    @property
    def formula(self) -> str:
        """The caption as HTML."""
        return typeset(self.caption)


Part = Paragraph | Verdicts | Table | Figure


@dataclass(frozen=True)
class Section:
    """Parts under a title."""

    title: str
    parts: Sequence[Part]


def number(value: float) -> str:
    """A number of a table; empty for NaN."""
    return "" if math.isnan(value) else "∞" if math.isinf(value) else shown(value) if value == 0 else f"{value:.1e}"

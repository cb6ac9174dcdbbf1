"""`pytest theory_checks --report theory.html`: the closing table and what stands beside it as a page.

The page is that of `flowops check`: the statements with source, worst residual, tolerance and verdict, those on a
user's object in tables of their own, the symbolic proofs, and with what it was made.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowops._files import write_text
from flowops.evaluation.report import Figure, Judged, Page, Section, Verdicts, facts, prepared, summary
from flowops.evaluation.report.chart import Curve, chart
from theory_checks.verdicts import Line
from theory_checks.verdicts import Verdicts as Gathered


class HtmlReport:
    """Writes the page at the end of the session, from the first process, which hears of all reports.

    Args:
        path: place of the file.
        gathered: what the checks recorded.
        asked: what the session was asked for: its profile, and seed where it has one.
    """

    def __init__(self, path: Path, gathered: Gathered, asked: dict[str, str]) -> None:
        self.path, self.gathered, self.asked = path, gathered, asked

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            write_text(self.path, page(self.gathered, self.asked).html())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"The report: {self.path}")


def writable(path: Path) -> Path:
    """The place of a page, which is tried before the work.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        with prepared(path.parent, "report"):
            pass
    except OSError as error:
        raise pytest.UsageError(str(error).replace("`report` must be", "--report must be in")) from None
    if path.suffix != ".html":
        raise pytest.UsageError(f"--report must end in .html, got {path.name}; rename it.")
    return path


def page(gathered: Gathered, asked: dict[str, str]) -> Page:
    """The page of what was gathered."""
    tables = list(_tables(gathered))
    sections = [Section("Verdicts", tables)]
    if rows := [row for table in tables for row in table.rows if row.residual > 0 and row.tolerance > 0]:
        sections.append(Section("How near each statement is to its tolerance", (_shares(rows),)))
    if gathered.formulas:
        told = [Figure(f"${identity}$", formula, {}, wide=True) for identity, formula in gathered.formulas]
        sections.append(Section("Symbolic proofs", told))
    return Page("flowops theory checks", tuple(map(summary, tables)), tuple(sections), {**asked, **facts()})


def _tables(gathered: Gathered) -> Iterator[Verdicts]:
    """The statements of the library, and those on each object of the user's."""
    lines: dict[str, list[tuple[str, Line]]] = defaultdict(list)
    for (own, statement), line in gathered.lines.items():
        lines[own].append((statement, line))
    for own, held in lines.items():
        rows = tuple(_judged(statement, line) for statement, line in held)
        yield Verdicts(own or "the theory", rows, gathered.objects.get(own, ""))


def _judged(statement: str, line: Line) -> Judged:
    tolerance = math.nan if math.isinf(line.tolerance) else line.tolerance
    return Judged(statement, line.source, line.worst, tolerance, line.outcome, line.why, line.checks)


def _shares(rows: list[Judged]) -> Figure:
    """Worst residuals in units of their tolerances, in increasing order."""
    shares = sorted(row.residual / row.tolerance for row in rows)
    told = "Worst residual over tolerance of every statement, in increasing order; above 1 it fails."
    places = [float(k) for k in range(1, len(shares) + 1)]
    curves = [Curve("", places, shares, "dots", 0), Curve("", [1.0, max(2.0, places[-1])], [1.0, 1.0], "dashes", 1)]
    drawing = chart(curves, ("statements", "worst residual / tolerance"), told, logarithmic="y")
    return Figure(told, drawing, {"shares": shares})

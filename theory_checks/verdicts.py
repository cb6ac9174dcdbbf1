"""Recording residuals while the checks run, and the table they end with."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from flowops.checks import Report


class Check:
    """What a check says of its residuals: each call records the worst, and fails with a sentence if it is too large."""

    def __init__(self, node: pytest.Item) -> None:
        self.node = node
        document = inspect.getdoc(getattr(node, "module", None)) or ""
        source = re.search(r"^Source: (.*?)\.?$", document, re.MULTILINE)
        self.statement = document.splitlines()[0].rstrip(".") if document else node.nodeid
        self.source = source.group(1) if source else ""
        node.user_properties.append(("statement", [self.statement, self.source]))

    def vanishes(self, residual: Tensor, tolerance: float, *, scale: Tensor | float = 1.0, where: str = "") -> None:
        """The residual, relative to `scale`, must not exceed `tolerance` anywhere."""
        worst = _largest(residual / scale)
        self._record(worst, tolerance)
        if not worst <= tolerance:
            pytest.fail(
                f"{self.statement}: residual {worst:.3g} exceeds {tolerance:.3g}{_at(where)}.",
                pytrace=False,
            )

    def at_most(self, value: float, bound: float, *, where: str = "") -> None:
        """A non-negative statistic must stay below its bound."""
        self.vanishes(torch.tensor(float(value)), bound, where=where)

    def sees(self, residual: Tensor, half: Tensor, tolerance: float, *, slack: float = 0.1) -> None:
        """Negative control: the residual of a map perturbed by delta is visible, and halves with delta."""
        size, smaller = _largest(residual), _largest(half)
        if not (size > 10 * tolerance and abs(size / smaller - 2) <= 2 * slack):
            pytest.fail(
                f"{self.statement}: the negative control is not seen: residual {size:.3g} (wanted > "
                f"{10 * tolerance:.3g}), ratio to half the perturbation {size / max(smaller, 1e-300):.3g} (wanted 2).",
                pytrace=False,
            )

    def order(self, errors: Tensor, steps: Tensor, expected: float, *, slack: float = 0.2) -> None:
        """The slope of log error against log step must be `expected` within `slack`."""
        x, y = steps.double().log(), errors.double().log()
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
        self._record(abs(slope - expected), slack)
        if not abs(slope - expected) <= slack:
            pytest.fail(
                f"{self.statement}: measured order {slope:.3f}, wanted {expected} within {slack}.", pytrace=False
            )

    def latex(self, formula: str) -> None:
        """A proof to print below the table."""
        self.node.user_properties.append(("latex", formula))

    def formula(self, identity: str, mathml: str) -> None:
        """The same for a page: an identity in LaTeX, and its proof in MathML."""
        self.node.user_properties.append(("formula", [identity, f'<math display="block">{mathml}</math>']))

    def report(self, report: Report) -> None:
        """The verdicts on a user's object; each is a line of the table."""
        self.node.user_properties.append(("object", [report.name, report.sentence()]))
        for v in report.verdicts:
            told = [v.statement, v.source, v.residual, v.tolerance, v.outcome, v.detail]
            self.node.user_properties.append(("verdict", told))
        if not report.holds:
            pytest.fail(report.sentence(), pytrace=False)

    def _record(self, worst: float, tolerance: float) -> None:
        self.node.user_properties.append(("residual", [worst, tolerance]))


@dataclass
class Line:
    """What the checks of one statement say of it: a line of the table."""

    source: str
    worst: float = math.nan
    tolerance: float = math.inf
    checks: int = 0
    outcome: str = "holds"
    why: str = ""

    def add(self, passed: bool) -> None:
        """One more check."""
        self.checks += 1
        self.outcome = self.outcome if passed else "FAILS"

    def measure(self, worst: float, tolerance: float) -> None:
        """A residual; the largest one in units of its tolerance stays, and one that is no number is larger than any."""
        worst = math.inf if math.isnan(worst) else worst
        if math.isnan(self.worst) or _size(worst, tolerance) > _size(self.worst, self.tolerance):
            self.worst, self.tolerance = worst, tolerance

    def columns(self) -> tuple[str, str, str, str, str]:
        """The columns beside the statement."""
        known = not math.isnan(self.worst)
        worst, tolerance = (f"{self.worst:.1e}", f"{self.tolerance:.1e}") if known else ("", "")
        return self.source, worst, tolerance, str(self.checks), self.outcome


class Verdicts:
    """A pytest plugin that gathers the records of all workers and prints the table of statements."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], Line] = {}  # by object, if it is a user's, and statement
        self.proofs: list[str] = []
        self.formulas: list[list[str]] = []
        self.sentences: list[str] = []
        self.objects: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or not (report.when == "call" or report.failed):
            return
        properties: list[tuple[str, Any]] = report.user_properties
        self.proofs += [value for name, value in properties if name == "latex"]
        self.formulas += [value for name, value in properties if name == "formula"]
        if "object" in dict(properties):
            self._of_an_object(report, *dict(properties)["object"])
        elif "statement" in dict(properties):
            statement, source = dict(properties)["statement"]
            line = self.lines.setdefault(("", statement), Line(source))
            line.add(report.passed)
            if report.failed and not line.why:
                line.why = f"{report.nodeid.partition('::')[2]}: {_last_line(report)}"
            for worst, tolerance in [value for name, value in properties if name == "residual"]:
                line.measure(worst, tolerance)

    def _of_an_object(self, report: pytest.TestReport, name: str, sentence: str) -> None:
        self.objects[name] = sentence
        self.sentences += [sentence] if report.passed else []
        for key, value in report.user_properties:
            if key == "verdict":
                statement, source, worst, tolerance, outcome, why = cast(list[Any], value)
                self.lines[name, statement] = Line(source, worst, tolerance, 1, outcome, why)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.lines:
            return
        terminalreporter.section("theory checks")
        width = max(len(statement) for _, statement in self.lines)
        rows = [("statement", "source", "worst residual", "tolerance", "checks", "verdict")]
        rows += [(statement, *line.columns()) for (_, statement), line in self.lines.items()]
        sources = max(len(row[1]) for row in rows)
        for statement, source, worst, tolerance, checks, outcome in rows:
            terminalreporter.write_line(
                f"{statement:<{width}}  {source:<{sources}}  {worst:>14}  {tolerance:>9}  {checks:>6}  {outcome}"
            )
        for sentence in self.sentences:
            terminalreporter.write_line("")
            terminalreporter.write_line(sentence)
        if self.proofs:
            terminalreporter.section("symbolic proofs")
            for proof in self.proofs:
                terminalreporter.write_line(f"$${proof}$$")


def _last_line(report: pytest.TestReport) -> str:
    """What a failed check says, in a line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash is not None else str(report.longrepr)
    return next((line for line in said.splitlines() if line.strip()), "")


def _size(worst: float, tolerance: float) -> float:
    """A residual in units of its tolerance; one that may not be at all is larger than any."""
    return worst / tolerance if tolerance else (math.inf if worst else 0.0)


def _largest(residual: Tensor) -> float:
    return float(residual.detach().abs().max()) if residual.numel() else 0.0


def _at(where: str) -> str:
    return f" {where}" if where else ""

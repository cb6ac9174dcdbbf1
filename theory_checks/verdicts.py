"""Recording residuals while the checks run, and the table they end with."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor


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

    def _record(self, worst: float, tolerance: float) -> None:
        self.node.user_properties.append(("residual", [worst, tolerance]))


@dataclass
class Verdict:
    """What the checks of one statement say of it: a line of the table."""

    source: str
    worst: float = 0.0
    tolerance: float = math.inf
    passed: int = 0
    failed: int = 0

    def line(self) -> tuple[str, str, str, str, str]:
        """The columns beside the statement."""
        checks, outcome = str(self.passed + self.failed), "FAILS" if self.failed else "holds"
        return self.source, f"{self.worst:.1e}", f"{self.tolerance:.1e}", checks, outcome


class Verdicts:
    """A pytest plugin that gathers the records of all workers and prints the table of statements."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.verdicts: dict[str, Verdict] = {}
        self.proofs: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: dict[str, Any] = dict(report.user_properties)
        if "statement" not in properties or not (report.when == "call" or report.failed):
            return
        statement, source = properties["statement"]
        verdict = self.verdicts.setdefault(statement, Verdict(source))
        verdict.passed += report.passed
        verdict.failed += report.failed
        values: list[tuple[str, Any]] = report.user_properties
        for name, value in values:
            if name == "residual" and _rank(*value) > _rank(verdict.worst, verdict.tolerance):
                verdict.worst, verdict.tolerance = value
            if name == "latex":
                self.proofs.append(value)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.verdicts:
            return
        terminalreporter.section("theory checks")
        width = max(len(statement) for statement in self.verdicts)
        lines = [("statement", "source", "worst residual", "tolerance", "checks", "verdict")]
        lines += [(statement, *verdict.line()) for statement, verdict in self.verdicts.items()]
        sources = max(len(line[1]) for line in lines)
        for statement, source, worst, tolerance, checks, outcome in lines:
            terminalreporter.write_line(
                f"{statement:<{width}}  {source:<{sources}}  {worst:>14}  {tolerance:>9}  {checks:>6}  {outcome}"
            )
        if self.proofs:
            terminalreporter.section("symbolic proofs")
            for proof in self.proofs:
                terminalreporter.write_line(f"$${proof}$$")


def _rank(worst: float, tolerance: float) -> tuple[bool, float, float]:
    """What a verdict shows: a failure before anything else, then the strictest tolerance, then the largest residual."""
    return not worst <= tolerance, -tolerance, worst


def _largest(residual: Tensor) -> float:
    return float(residual.detach().abs().max()) if residual.numel() else 0.0


def _at(where: str) -> str:
    return f" {where}" if where else ""

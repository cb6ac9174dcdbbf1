"""A pytest plugin that writes down what the checks of each file found, for the table of statements.

python -m pytest -p theory_checks.record theory_checks --record experiments/results/statements.json
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Line:
    """What is known of a file of checks.

    Attributes:
        residual, tolerance: of the check that came nearest to failing.
        passed, failed: how many checks did.
        seconds: processor seconds of the process that ran them.
    """

    residual: float = 0.0
    tolerance: float = 0.0
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0

    def take(self, residual: float, tolerance: float) -> None:
        """Keep the residual that is the largest part of its tolerance."""
        if not self.tolerance or not _part(residual, tolerance) <= _part(self.residual, self.tolerance):
            self.residual, self.tolerance = residual, tolerance


class Record:
    """Gathers the reports of all processes and writes them at the end, in the place of old ones of the same files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, Line] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = report.user_properties
        if report.skipped or not (report.when == "call" or report.failed):
            return
        line = self.lines.setdefault(Path(report.nodeid.partition("::")[0]).name, Line())
        line.passed += report.passed
        line.failed += report.failed
        for name, value in properties:
            if name == "residual":
                line.take(*value)
            if name == "seconds":
                line.seconds += value

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput") or not self.lines:  # the first process hears of all reports
            return
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        known |= {name: {**asdict(line), "seconds": round(line.seconds, 1)} for name, line in self.lines.items()}
        text = json.dumps(dict(sorted(known.items())), indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text + "\n", encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("theory checks")
    group.addoption("--record", type=Path, metavar="FILE", help="write what each file of checks found, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--record")
    if path is not None:
        config.pluginmanager.register(Record(path.absolute()), "flowops-record")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """The processor time of a check travels with its report."""
    start = time.process_time()
    yield
    item.user_properties.append(("seconds", time.process_time() - start))


def _part(residual: float, tolerance: float) -> float:
    """How much of its tolerance a residual takes; a tolerance of nothing is a check by yes or no."""
    return residual / tolerance if tolerance else (math.inf if residual else 0.0)

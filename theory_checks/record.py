"""A pytest plugin that writes down the closing table of statements, with the processor seconds of each.

python -m pytest -p theory_checks.record theory_checks --record experiments/results/statements.json
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Record:
    """Writes the verdicts of all processes at the end, in the place of old ones of the same statements."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds = Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: dict[str, Any] = dict(report.user_properties)
        if report.when == "call" and "statement" in properties:
            self.seconds[properties["statement"][0]] += properties.get("seconds", 0.0)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        verdicts = session.config.pluginmanager.get_plugin("flowops-verdicts")
        if hasattr(session.config, "workerinput") or verdicts is None:  # the first process hears of all reports
            return
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        for (own, statement), line in verdicts.lines.items():
            if own:  # an object of the user's is no statement of ours
                continue
            known[statement] = {
                "residual": None if math.isnan(line.worst) else float(f"{line.worst:.1e}"),
                "tolerance": None if math.isinf(line.tolerance) else float(f"{line.tolerance:.1e}"),
                "checks": line.checks,
                "outcome": line.outcome,
                "seconds": round(self.seconds[statement], 1),
            }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
        self.path.write_text(text + "\n", encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("theory checks")
    group.addoption("--record", type=Path, metavar="FILE", help="write the closing table, as JSON")


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

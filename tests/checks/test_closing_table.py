"""The lines of the table that the theory checks end with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from theory_checks.record import Record
from theory_checks.verdicts import Line, Verdicts


@pytest.mark.parametrize("backward", [False, True])
def test_the_worst_residual_is_that_of_the_largest_share_of_its_tolerance(backward: bool) -> None:
    measured = [(0.0, 1e-8), (3e-8, 1e-7), (1e-6, 4e-4), (5e-10, 1e-8)]
    line = Line("source")
    for worst, tolerance in reversed(measured) if backward else measured:
        line.measure(worst, tolerance)
    assert (line.worst, line.tolerance) == (3e-8, 1e-7)
    assert line.columns()[1:3] == ("3.0e-08", "1.0e-07")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_residual_that_is_no_number_is_the_worst(value: float) -> None:
    line = Line("source")
    for worst in (1e-9, value, 1e-9):
        line.measure(worst, 1e-8)
    assert line.worst == math.inf


def test_one_failure_is_enough_and_statements_without_residuals_have_none() -> None:
    line = Line("source")
    for passed in (True, False, True):
        line.add(passed)
    assert line.columns() == ("source", "", "", "3", "FAILS")


def test_a_check_that_is_skipped_is_none() -> None:
    verdicts, properties = Verdicts(), [("statement", ["Ours", "source"])]
    for outcome in ("passed", "skipped"):
        report = pytest.TestReport("file", ("file", 0, ""), {}, outcome, None, "call", user_properties=properties)
        verdicts.pytest_runtest_logreport(report)
    assert verdicts.lines["", "Ours"] == Line("source", math.nan, math.inf, 1, "holds")


def test_where_nothing_may_be_left_a_residual_is_beyond_all_others() -> None:
    line = Line("source")
    for worst, tolerance in ((0.0, 0.0), (1e-9, 1e-8), (1e-300, 0.0), (1.0, 1e-8)):
        line.measure(worst, tolerance)
    assert (line.worst, line.tolerance) == (1e-300, 0.0)


def test_a_record_keeps_the_lines_of_our_statements(tmp_path: Path) -> None:
    verdicts = Verdicts()
    verdicts.lines["", "Ours"] = Line("source", 3e-9, 1e-8, 2)
    verdicts.lines["", "Yes or no"] = Line("source", checks=1)
    verdicts.lines["theirs", "Identity"] = Line("source", 1.0, 1e-8, 1, "FAILS")
    plugins = SimpleNamespace(get_plugin=lambda _: verdicts)
    session = SimpleNamespace(config=SimpleNamespace(pluginmanager=plugins))
    Record(tmp_path / "record.json").pytest_sessionfinish(cast(pytest.Session, session))
    known = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert known == {
        "Ours": {"residual": 3e-9, "tolerance": 1e-8, "checks": 2, "outcome": "holds", "seconds": 0},
        "Yes or no": {"residual": None, "tolerance": None, "checks": 1, "outcome": "holds", "seconds": 0},
    }

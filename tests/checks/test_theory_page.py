"""The page of `pytest theory_checks --report`: the closing table, objects of the user's, and proofs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flowops.evaluation.report import Verdicts
from tests.evaluation.report.pages import check_self_contained
from theory_checks.report import HtmlReport, page, writable
from theory_checks.verdicts import Verdicts as Gathered


def heard(gathered: Gathered, outcome: Any, why: str | None, *properties: tuple[str, Any]) -> None:
    report = pytest.TestReport("file", ("file", 0, ""), {}, outcome, why, "call", user_properties=list(properties))
    report.nodeid = "theory_checks/test_it.py::test_it[case]"
    gathered.pytest_runtest_logreport(report)


@pytest.fixture
def gathered() -> Gathered:
    found = Gathered()
    ours = ("statement", ["Ours: X_{t,t}(x) = x", "a paper (4)"])
    heard(
        found,
        "passed",
        None,
        ours,
        ("residual", [1e-9, 1e-8]),
        ("formula", ["X_{t,t}(x)-x", "<math><mn>0</mn></math>"]),
    )
    heard(found, "failed", "Ours: residual 3 exceeds 1e-08.", ours, ("residual", [3.0, 1e-8]))
    heard(found, "passed", None, ("statement", ["Yes or no", "a paper"]))
    verdict = ["Lagrangian: <b>", "a paper (8)", 0.5, 1e-9, "FAILS", "s = 0, t = 1: left side 1, right side 2"]
    heard(found, "failed", "no", ("object", ["the map", "the map, first broken equation."]), ("verdict", verdict))
    return found


def test_it_tells_the_statements_and_what_fails(gathered: Gathered) -> None:
    made = page(gathered, {"profile": "quick"})
    ours, own = made.verdicts
    assert isinstance(ours, Verdicts)
    assert [(row.statement, row.outcome, row.checks) for row in ours.rows] == [
        ("Ours: X_{t,t}(x) = x", "FAILS", 2), ("Yes or no", "holds", 1),
    ]  # fmt: skip
    assert ours.rows[0].detail == "test_it[case]: Ours: residual 3 exceeds 1e-08."
    assert (own.name, own.sentence) == ("the map", "the map, first broken equation.")
    assert made.summary[0] == "the theory: of 2 statements 1 hold, 1 FAIL. The first broken one is Ours."
    read = check_self_contained(made.html())
    assert "math" in read.tags
    assert "b" not in read.tags
    assert "left side 1, right side 2" in read.text
    assert "quick" in read.text


def test_it_is_written_by_the_first_process_alone(gathered: Gathered, tmp_path: Path) -> None:
    for name, config in (("worker.html", SimpleNamespace(workerinput={})), ("first.html", SimpleNamespace())):
        session = cast(pytest.Session, SimpleNamespace(config=config))
        HtmlReport(tmp_path / name, gathered, {}).pytest_sessionfinish(session)
    assert [file.name for file in tmp_path.iterdir()] == ["first.html"]


def test_a_place_that_cannot_be_written_is_refused_before_the_checks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(pytest.UsageError, match="--report must be in a folder"):
        writable(tmp_path / "file" / "theory.html")
    with pytest.raises(pytest.UsageError, match=r"--report must end in \.html"):
        writable(tmp_path / "theory.pdf")
    assert writable(tmp_path / "theory.html") == tmp_path / "theory.html"

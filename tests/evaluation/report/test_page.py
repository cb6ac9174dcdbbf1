"""The page: it needs no other file, hostile names stay words, and JSON and JUnit say the same."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree

import pytest

from flowops.evaluation.report import Figure, Judged, Page, Paragraph, Section, Table, Verdicts
from flowops.evaluation.report.chart import Curve, chart
from tests.evaluation.report.pages import check_self_contained

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=\"alert('2')\"> {{ 7 * 7 }} \x00\x1b ]]> &amp;"
ROWS = (
    Judged("Identity: X_{t,t}(x) = x", "here (4)", 1e-12, 1e-9, "holds"),
    Judged(HOSTILE, HOSTILE, math.inf, 1e-9, "FAILS", HOSTILE),
    Judged("Inverse: X_{t,s}(X_{s,t}(x)) = x", "here", math.nan, 1e-9, "not decided", "errors grow"),
    Judged("Lagrangian", "here", 0.25, math.nan, "measured"),
)


@pytest.fixture
def page() -> Page:
    drawing = chart([Curve(HOSTILE, [0.0, math.nan], [1.0, 2.0])], (HOSTILE, "y"), HOSTILE)
    parts = (
        Paragraph(HOSTILE), Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, "1"),)),
        Figure(HOSTILE, drawing, {"values": [1.0, math.nan]}),
    )  # fmt: skip
    verdicts = Section("Verdicts", (Verdicts(HOSTILE, ROWS, HOSTILE, (HOSTILE,)),))
    return Page(HOSTILE, (HOSTILE,), (verdicts, Section(HOSTILE, parts)), {HOSTILE: HOSTILE})


def test_it_needs_no_other_file_and_runs_nothing(page: Page) -> None:
    found = check_self_contained(page.html())
    assert "img" not in found.tags
    assert found.text.count("alert(1)") >= 10
    assert "{{ 7 * 7 }}" in found.text
    assert "49" not in found.text


def test_a_formula_has_its_index_below() -> None:
    table = Verdicts("a map", ROWS[:1])
    text = Page("title", (), (Section("Verdicts", (table,)),), {}).html()
    assert "X<sub>t,t</sub>(x) = x" in text


def test_a_verdict_is_told_by_a_word_and_a_sign(page: Page) -> None:
    text = page.html()
    for told in ("✓ holds", "✗ FAILS", "? not decided", "≈ measured"):
        assert text.count(told) == 1


def test_it_is_for_light_and_dark_phones_and_print(page: Page) -> None:
    text = page.html()
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print", 'name="viewport"'):
        assert rule in text


def test_json_holds_the_numbers_and_no_nan(page: Page) -> None:
    held = json.loads(page.json(), parse_constant=lambda name: pytest.fail(name))
    verdicts, figure = held["sections"][0]["parts"][0], held["sections"][1]["parts"][2]
    assert [row["outcome"] for row in verdicts["rows"]] == ["holds", "FAILS", "not decided", "measured"]
    assert verdicts["rows"][0]["residual"] == 1e-12
    assert verdicts["rows"][1]["residual"] is None
    assert figure == {"kind": "figure", "caption": HOSTILE, "data": {"values": [1.0, None]}}
    assert held["holds"] is False


def test_junit_counts_what_fails_and_what_is_not_decided(page: Page) -> None:
    root = ElementTree.fromstring(page.junit().encode())
    (suite,) = root
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "4", "failures": "1", "skipped": "1", "errors": "0",
    }  # fmt: skip
    cases = list(suite)
    assert [case.tag for case in cases] == ["testcase"] * 4
    assert [[child.tag for child in case] for case in cases] == [
        ["system-out"], ["failure", "system-out"], ["skipped", "system-out"], ["system-out"],
    ]  # fmt: skip
    assert "alert(1)" in (cases[1][0].get("message") or "")
    assert cases[0].get("name") == "Identity: X_{t,t}(x) = x"
    assert "observed: 1.0e-12" in (cases[0][0].text or "")


def test_a_page_holds_where_something_holds_and_nothing_fails(page: Page) -> None:
    assert not page.holds
    for rows, holds in ((ROWS[:1], True), (ROWS[2:], False), ((), False)):
        assert Page("title", (), (Section("Verdicts", (Verdicts("a map", rows),)),), {}).holds is holds

"""Formulas become HTML, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flowops
from flowops.evaluation.report.formula import typeset
from tests.evaluation.report.pages import Read

RECORD = Path(flowops.__file__).parent.parent / "experiments" / "results" / "statements.json"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("X_{s,t}(x) = x", "X<sub>s,t</sub>(x) = x"),
        ("d/dt X_st(I_s)", "∂/∂t X<sub>st</sub>(I<sub>s</sub>)"),
        ("int_s^t div b", "∫<sub>s</sub><sup>t</sup> div b"),
        (r"$\partial_tX_{s,t}(x)\,b_s$", "∂<sub>t</sub>X<sub>s,t</sub>(x) b<sub>s</sub>"),
        ("alpha(0) = 1, rho_t", "α(0) = 1, ρ<sub>t</sub>"),
        ("`eta_s` and <b>", "<code>eta_s</code> and &lt;b&gt;"),
        ("a file_name.py stays, and one ` too", "a file_name.py stays, and one ` too"),
        ("s -> t <= 1", "s → t ≤ 1"),
        (r"\hat X and \unknown{x} of \{0, 1\}", "X and unknown{x} of {0, 1}"),
    ],
)
def test_formulas_are_set(text: str, told: str) -> None:
    assert typeset(text) == told


def test_every_statement_is_balanced_html_without_a_trace_of_latex() -> None:
    for statement in json.loads(RECORD.read_text(encoding="utf-8")):
        text = typeset(statement)
        assert set(Read(text).tags) <= {"sub", "sup", "code"}
        assert not set("\\$") & set(text), text

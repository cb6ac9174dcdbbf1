"""The table of methods in a terminal."""

from __future__ import annotations

import pytest

from flowops.methods import METHODS
from tests.cli.commands import Console


def test_every_method_stands_in_the_table_with_its_source(flowops: Console) -> None:
    lines = flowops("methods").out.splitlines()
    heads = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line and not line.startswith(" ")}
    for name, method in METHODS.items():
        assert heads[name].startswith(method.row.source[:60])
    assert max(map(len, lines)) <= 100


def test_the_terms_of_a_method_are_in_plain_letters(flowops: Console) -> None:
    said = " ".join(flowops("methods").out.split())
    assert "v_tt(I_t) against I'_t; velocity: conditional d_t X_st(x) against b_t(X_st(x)); velocity: own" in said
    assert "constant: v_tt(X_st)" in said
    assert "\\" not in said
    assert "$" not in said


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_explained_with_all_its_options(flowops: Console, name: str) -> None:
    said = flowops("methods", name)
    assert said.code == 0
    assert said.out.startswith(f"{name}: ")
    assert "\\" not in said.out
    text = " ".join(said.out.split())
    for option, value in METHODS[name].row.defaults.items():
        shown = str(value).lower() if value is None or isinstance(value, bool) else value
        assert isinstance(value, tuple) or f" {option}={shown} " in text
    assert f"Source: {METHODS[name].row.source}." in text
    assert ("Teacher: " in text) == bool(METHODS[name].row.teacher)


def test_the_settings_of_the_paper_are_told(flowops: Console) -> None:
    assert "As in its paper\n  norm=PseudoHuber(c=None)" in flowops("methods", "ict").out


def test_an_unknown_method_has_a_hint(flowops: Console) -> None:
    assert "did you mean 'lsd'?" in flowops("methods", "lds").error

"""`flowops check`: a report of a user's object, and an exit code."""

from __future__ import annotations

from tests.cli.commands import Console

HERE = "tests.checks.objects"


def test_a_right_map_is_exit_code_0(flowops: Console) -> None:
    said = flowops("check", "--flow-map", f"{HERE}:exact", "--field", f"{HERE}:field", "--n", 6)
    assert said.code == 0, said
    assert "the map: everything holds" in said.out


def test_a_wrong_map_is_exit_code_1_and_its_first_broken_equation_is_named(flowops: Console) -> None:
    said = flowops("check", "--flow-map", f"{HERE}:euler", "--field", f"{HERE}:field", "--horizon", "0,2", "--n", 6)
    assert said.code == 1
    assert "first broken equation: Lagrangian." in said.out


def test_the_findings_on_a_schedule_are_shown(flowops: Console) -> None:
    said = flowops("check", "--alpha", "0.99*(1-t)", "--beta", "t")
    assert said.code == 1
    assert "first broken equation: alpha(0) = 1." in said.out
    assert flowops("check", "--alpha", "0.99*(1-t)", "--beta", "t", "--ends-differ").code == 0


def test_what_cannot_be_checked_is_one_sentence_in_the_words_of_the_shell(flowops: Console) -> None:
    assert "--alpha and --beta must be given together" in flowops("check", "--alpha", "1-t").error
    assert "--flow-map must name something to import" in flowops("check", "--flow-map", "nowhere:f").error

"""The named schedules, and the linter for those of the user."""

from __future__ import annotations

import pytest

from flowops.interpolants import NAMED
from tests.cli.commands import Console


def test_every_named_schedule_stands_with_formulas_and_verdict(flowops: Console) -> None:
    said = flowops("schedules").out
    assert all(f"\n{name}: " in f"\n{said}" for name in NAMED)
    assert "linear: valid\n  alpha = 1-t\n  beta  = t\n" in said
    assert "edm: usable, fails alpha(0) = 1, alpha(1) = 0, beta(0) = 0\n" in said
    assert (
        said.count("  note: the integral of alpha_dot^2 over [0, 1-d] grows like") == 2
    )  # cosine, variance preserving


def test_a_sound_schedule_passes(flowops: Console) -> None:
    said = flowops("schedules", "--alpha", "cos(pi*t/2)", "--beta", "sin(pi*t/2)")
    assert said.code == 0
    assert said.out.startswith("your schedule: valid\nok ")


@pytest.mark.parametrize(("alpha", "failed"), [("1-2*t", "alpha(1) = 0"), ("1/(t-0.5)", "alpha is finite on [0, 1]")])
def test_a_schedule_that_fails_is_exit_code_1(flowops: Console, alpha: str, failed: str) -> None:
    said = flowops("schedules", "--alpha", alpha, "--beta", "t")
    assert said.code == 1
    assert f"FAIL  {failed}" in said.out


@pytest.mark.parametrize(("name", "code"), [("linear", 0), ("encoding_decoding", 0), ("edm", 1)])
def test_a_named_schedule_is_shown_property_by_property(flowops: Console, name: str, code: int) -> None:
    said = flowops("schedules", name)
    assert said.code == code
    assert said.out.startswith(f"{name}: ")


def test_a_latent_is_checked_too(flowops: Console) -> None:
    said = flowops("schedules", "--alpha", "1-t", "--beta", "t", "--gamma", "t*(1-t)")
    assert said.code == 0
    assert "gamma(1) = 0" in said.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--alpha", "1-t"), "--alpha and --beta must be given together"),
        (("--beta", "t"), "--alpha and --beta must be given together, got one of them"),
        (("--gamma", "t"), "--alpha and --beta must be given together, got none of them"),
        (("--alpha", ""), "--alpha and --beta must be given together, got one of them"),
        (("--alpha", "", "--beta", "t"), "--alpha must be an expression in t, got an empty string"),
        (("linear", "--gamma", ""), "NAME must not be given beside formulas, got 'linear'"),
        (("linear", "--alpha", "1-t", "--beta", "t"), "NAME must not be given beside formulas, got 'linear'"),
        (("liner",), "NAME must be one of linear, trigonometric"),
        (("liner",), "did you mean 'linear'?"),
        (("--alpha", "1-", "--beta", "t"), "alpha"),
    ],
)
def test_what_is_no_schedule_is_one_sentence(flowops: Console, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in flowops("schedules", *words).error

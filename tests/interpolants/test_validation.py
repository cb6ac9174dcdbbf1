"""The linter passes what is sound and finds every planted defect, with its time."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from flowops.interpolants import NAMED, Interpolant, ValidationReport

EXACT = {"linear", "trigonometric", "cosine", "encoding_decoding"}


def failing(report: ValidationReport) -> dict[str, float]:
    return {p.name: p.time for p in report.properties if not p.passed}


@pytest.mark.parametrize("name", NAMED)
def test_named_schedules_are_usable_and_the_exact_ones_valid(name: str) -> None:
    report = NAMED[name]().validate()
    assert report.usable, str(report)
    assert report.ok == (name in EXACT)
    report.raise_if_unusable()
    assert all(p.end_law for p in report.failures)


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "name", "time"),
    [
        ("2-t", "t", None, "alpha(0) = 1", 0.0),
        ("1.1-t", "t", None, "alpha(1) = 0", 1.0),
        ("1-t", "t+0.1*(1-t)", None, "beta(0) = 0", 0.0),
        ("1-t", "2*t", None, "beta(1) = 1", 1.0),
        ("1-t", "t", "t", "gamma(1) = 0", 1.0),
        ("1-t", "t", "1-t", "gamma(0) = 0", 0.0),
    ],
)
def test_boundary_values(alpha: str, beta: str, gamma: str | None, name: str, time: float) -> None:
    report = Interpolant.from_expressions(alpha, beta, gamma).validate()
    assert failing(report)[name] == time
    assert report.usable
    assert not report.ok
    report.raise_if_unusable()


@pytest.mark.parametrize(
    ("alpha", "beta", "name", "time"),
    [
        ("(1-t)/t", "t", "alpha is finite on [0, 1]", 0.0),
        ("1-t", "t/(1-t)", "beta is finite on [0, 1]", 1.0),
        ("(t-1)/t", "t", "alpha is finite on [0, 1]", 0.0),
        ("1-t", "0.7*t*(1+0.3/(t-0.3))", "beta is finite on [0, 1]", 0.3),
        ("sqrt(0.5-t)", "t", "alpha is finite on [0, 1]", None),
        ("1-t", "t+sqrt(abs(t-0.3))-sqrt(0.3)*(1-t)-sqrt(0.7)*t", "beta_dot is finite inside", 0.3),
        ("1-t", "t-0.4*sin(2*pi*t)", "signal-to-noise increases", None),
        ("t", "1-t", "signal-to-noise increases", None),
        ("1-2*t", "1-2*t", "alpha^2 + beta^2 + gamma^2 > 0", 0.5),
        ("(1-t)*(t-0.337)", "t*(t-0.337)", "alpha^2 + beta^2 + gamma^2 > 0", 0.337),
    ],
)
def test_defects_inside(alpha: str, beta: str, name: str, time: float | None) -> None:
    report = Interpolant.from_expressions(alpha, beta, name="planted").validate()
    found = failing(report)
    assert name in found, str(report)
    if time is not None:
        assert found[name] == pytest.approx(time, abs=1e-6)
    assert not report.usable
    with pytest.raises(
        ValueError, match=r"^The planted interpolant must satisfy \".*\" .*, got .* at t = .*; change its"
    ):
        report.raise_if_unusable()


def test_a_signal_to_noise_that_falls_is_found_where_it_falls() -> None:
    found = failing(Interpolant.from_expressions("1-t", "t-0.4*sin(2*pi*t)").validate())
    time = found["signal-to-noise increases"]
    assert 1 - 0.8 * math.pi * math.cos(2 * math.pi * time) < 0  # there beta itself falls


def test_a_derivative_cut_off_from_its_value_is_found() -> None:
    report = Interpolant(lambda t: 1 - t, lambda t: t * t.detach()).validate()
    assert set(failing(report)) == {"beta_dot is the derivative of beta"}
    with pytest.raises(ValueError, match="beta_dot is the derivative of beta"):
        report.raise_if_unusable()


def test_a_rate_that_is_infinite_at_an_end_is_no_defect() -> None:
    assert Interpolant.from_expressions("sqrt(1-t)", "sqrt(t)").validate().ok


def test_a_rate_that_is_below_the_rounding_of_its_coefficient_is_no_defect() -> None:
    assert Interpolant.from_expressions("1-t**8", "t").validate().ok  # at t = 0.002 the rate is 1e-18


def test_three_terms_need_no_monotone_ratio() -> None:
    report = Interpolant.from_expressions("cos(pi*t/2)", "sin(pi*t/2)", "sqrt(2*t*(1-t))").validate()
    assert report.ok
    assert not any("signal" in p.name for p in report.properties)
    bridge = Interpolant.from_expressions("(1-2*t)*(1-t)", "(2*t-1)*t", "t*(1-t)").validate()
    assert bridge.usable  # gamma fills the gap at 1/2


def test_a_schedule_that_raises_is_reported_not_raised() -> None:
    def broken(_: Tensor) -> Tensor:
        raise RuntimeError("no such table\nsecond line")

    report = Interpolant(broken, lambda t: t).validate()
    assert not report.usable
    lines = {p.name: str(p) for p in report.properties}
    assert "RuntimeError: no such table" in lines["alpha is finite on [0, 1]"]
    assert "second line" not in str(report)
    with pytest.raises(ValueError, match="got RuntimeError: no such table; change its coefficients"):
        report.raise_if_unusable()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_schedule_that_is_not_finite_fails_everywhere(value: float) -> None:
    report = Interpolant(lambda t: torch.full_like(t, value), lambda t: t).validate()
    assert {"alpha is finite on [0, 1]", "alpha(0) = 1"} <= set(failing(report))
    assert not report.usable


class Scaled(nn.Module):
    """$wt$, with a float32 weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, weight)

    def forward(self, t: Tensor) -> Tensor:
        return self.layer(t[..., None])[..., 0]


def test_float32_parameters_are_left_as_they_are() -> None:
    I = Interpolant(lambda t: 1 - t, Scaled(1.0))
    assert I.validate().ok
    assert next(I.parameters()).dtype == torch.float32
    assert set(failing(Interpolant(lambda t: 1 - t, Scaled(0.5)).validate())) == {"beta(1) = 1"}


def test_the_report_reads_line_by_line() -> None:
    report = Interpolant.from_expressions("1-t", "2*t", name="mine").validate()
    lines = str(report).splitlines()
    assert lines[0] == "mine: usable, its end laws differ"
    assert len(lines) == 1 + len(report.properties)
    assert [line for line in lines if line.startswith("FAIL")] == [str(p) for p in report.failures]
    assert "beta(1) = 1" in str(report.failures[0])
    assert "2 at t = 1, wanted 1" in str(report.failures[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(("alpha", "beta"), [("0.99*(1-t)", "t"), ("1-t", "2*t")])
def test_a_schedule_that_misses_base_or_data_is_usable_and_not_valid(alpha: str, beta: str) -> None:
    report = Interpolant.from_expressions(alpha, beta).validate()
    assert report.usable
    assert not report.ok
    assert not report.remarks


def test_an_infinite_loss_is_a_remark_with_its_rate_and_no_failure() -> None:
    report = NAMED["cosine"]().validate()
    assert report.ok
    (remark,) = report.remarks
    assert remark.startswith("the integral of alpha_dot^2 over [0, 1-d] grows like 0.009714 log(1/d) (by its formula)")
    assert f"note  {remark}" == str(report).splitlines()[-1]
    assert not NAMED["linear"]().validate().remarks
    (own,) = Interpolant(lambda t: (1 - t) ** 0.3, lambda t: t).validate().remarks
    assert "grows like 0.225 d^-0.4 (an estimate)" in own


def test_a_derivative_without_a_limit_at_an_end_is_remarked() -> None:
    report = Interpolant(lambda t: torch.sqrt((1 - t) * (1 + torch.sqrt(1 - t)) / 2), lambda t: t).validate()
    assert report.ok
    assert report.remarks[0].startswith("alpha_dot and alpha alpha_dot are NaN at t = 1 and no limit was found")
    assert not Interpolant(lambda t: torch.sqrt((1 - t) ** 2), lambda t: t).validate().remarks

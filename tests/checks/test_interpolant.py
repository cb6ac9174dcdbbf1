"""Schedules that are right pass, with posteriors however narrow; what `validate` finds stands in the report."""

from __future__ import annotations

import pytest
import torch

from flowops import Interpolant, interpolants
from flowops.checks import check_interpolant
from flowops.checks.posterior import conditional_means
from tests.examples import normal

NARROW = [("(1-t)**3", "t*(2-t)"), ("(1-t)**4", "t"), ("exp(-5*t)*(1-t)", "t")]


class WrongConversion(Interpolant):
    """A schedule whose conversions are off by a factor."""

    factor = 1.0

    def convert(self, t, x, value, source, target):
        found = super().convert(t, x, value, source, target)
        return found if target == "velocity" else self.factor * found


@pytest.mark.parametrize("name", interpolants.NAMED)
def test_named_schedules_pass(name: str) -> None:
    I = interpolants.NAMED[name]()
    report = check_interpolant(I, ends=False)
    assert report.holds, str(report)
    assert not report.undecided, str(report)
    assert check_interpolant(I).holds == I.validate().ok


@pytest.mark.parametrize(("alpha", "beta"), NARROW)
def test_narrow_posteriors_pass(alpha: str, beta: str) -> None:
    report = check_interpolant(Interpolant.from_expressions(alpha, beta))
    assert report.holds, str(report)
    assert not report.undecided, str(report)


@pytest.mark.parametrize(
    ("alpha", "beta", "broken"),
    [
        ("0.99*(1-t)", "t", "alpha(0) = 1"),
        ("1-t", "2*t", "beta(1) = 1"),
        ("t", "1-t", "alpha(0) = 1"),
        ("1-t", "t-t**2+t**3*sin(9*pi*t)", "beta(1) = 1"),
    ],
)
def test_what_validate_finds_stands_in_the_report(alpha: str, beta: str, broken: str) -> None:
    report = check_interpolant(Interpolant.from_expressions(alpha, beta, name="mine"))
    assert report.first_broken is not None
    assert report.first_broken.statement == broken
    assert f"the mine interpolant, first broken equation: {broken}. {broken} fails: it is" in str(report)


def test_ends_that_need_not_be_reached_stand_in_the_report_all_the_same() -> None:
    report = check_interpolant(Interpolant.from_expressions("0.99*(1-t)", "t"), ends=False)
    assert report.holds
    assert "alpha(0) = 1 differs: it is 0.99 at t = 0, wanted 1." in str(report)


def test_an_unusable_schedule_is_not_looked_at_further() -> None:
    report = check_interpolant(Interpolant.from_expressions("1/(t-0.5)", "t"))
    assert not report.holds
    assert "Field" not in [v.name for v in report.verdicts]


def test_a_wrong_conversion_is_named_and_its_residual_scales() -> None:
    sizes = []
    for delta in (1e-5, 5e-6):
        I = WrongConversion(lambda t: 1 - t, lambda t: t)
        I.factor = 1 + delta
        broken = check_interpolant(I).first_broken
        assert broken is not None
        assert broken.name == "Conversions"
        assert broken.place is not None
        assert broken.place.of.startswith("velocity to")
        sizes.append(broken.residual)
    assert sizes[0] / sizes[1] == pytest.approx(2, rel=0.02)


def test_a_schedule_of_three_terms_passes() -> None:
    report = check_interpolant(Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))"))
    assert report.holds, str(report)
    assert "Conversions" not in [v.name for v in report.verdicts]


@pytest.mark.parametrize(("alpha", "beta"), [("1-t", "t"), *NARROW])
def test_the_quadrature_gives_the_means_of_a_normal_law(alpha: str, beta: str) -> None:
    I, t = Interpolant.from_expressions(alpha, beta), torch.linspace(0.02, 0.98, 13).double()
    x = normal(13) * torch.hypot(I.alpha(t), I.beta(t))
    noise, data = conditional_means(I, t, x, lambda x1: torch.exp(-(x1**2) / 2), 12.0)
    variance = I.alpha(t) ** 2 + I.beta(t) ** 2
    torch.testing.assert_close(noise, I.alpha(t) * x / variance, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(data, I.beta(t) * x / variance, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(TypeError, match="`I` must be an Interpolant"):
        check_interpolant("1-t")  # type: ignore[arg-type]


def test_a_base_that_is_not_normal_leaves_the_properties() -> None:
    report = check_interpolant(Interpolant(lambda t: 1 - t, lambda t: t, gaussian_base=False))
    assert report.holds
    assert all(isinstance(v.reason, str) and v.source == "definition" for v in report.verdicts)


def test_a_loss_that_is_infinite_is_noted_below_a_schedule_that_holds() -> None:
    report = check_interpolant(interpolants.cosine(), ends=False)
    assert report.holds
    assert "\nNote: the integral of alpha_dot^2" in str(report)
    assert "Note" not in str(check_interpolant(interpolants.linear()))

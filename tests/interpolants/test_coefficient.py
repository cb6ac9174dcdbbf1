"""Coefficients given by callables are as good at the ends as formulas, wherever their limits can be had."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, problems
from flowops.interpolants import cosine, variance_preserving
from flowops.interpolants.coefficient import limit_at_ends

RULES = ("alpha", "alpha_dot", "alpha_alpha_dot", "alpha_squared", "beta_dot", "beta_beta_dot", "beta_squared")


def noising(t: Tensor) -> Tensor:
    """The integrated rate of the variance-preserving schedule."""
    return (1 - t) ** 2 * 19.9 / 2 + (1 - t) * 0.1


def cosine_beta(t: Tensor) -> Tensor:
    """The data coefficient of the cosine schedule."""
    a = torch.tensor(torch.pi * 0.008 / (2 * 1.008), dtype=t.dtype)
    return torch.sin(torch.pi * t / (2 * 1.008)) / a.cos()


PAIRS = {
    "variance preserving": (
        variance_preserving(),
        Interpolant(lambda t: torch.sqrt(-torch.expm1(-noising(t))), lambda t: torch.exp(-noising(t) / 2)),
    ),
    "cancelling": (
        variance_preserving(),
        Interpolant(lambda t: torch.sqrt(1 - torch.exp(-noising(t))), lambda t: torch.exp(-noising(t) / 2)),
    ),
    "cosine": (
        cosine(),
        Interpolant(lambda t: torch.sqrt((1 - cosine_beta(t) ** 2).clamp(min=0)), cosine_beta),
    ),
    "roots": (
        Interpolant.from_expressions("sqrt(1-t)", "sqrt(t)"),
        Interpolant(lambda t: torch.sqrt(1 - t), lambda t: torch.sqrt(t)),
    ),
}


@pytest.fixture(params=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> tuple[Interpolant, Interpolant]:
    return PAIRS[request.param]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_every_rule_at_both_ends_is_that_of_the_formula(
    pair: tuple[Interpolant, Interpolant], rule: str, dtype: torch.dtype, tolerance: float
) -> None:
    formula, callables = pair
    t = torch.tensor([0.0, 0.5, 1.0], dtype=dtype)
    wanted, found = getattr(formula, rule)(t), getattr(callables, rule)(t)
    if pair is PAIRS["cosine"] and rule == "alpha":
        found = found.where(t < 1, 0)  # rounding of the callable itself
    if pair is PAIRS["cosine"] and rule == "alpha_dot":
        wanted, found = wanted[:2], found[:2]
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rule", ["alpha_alpha_dot", "alpha_squared"])
def test_the_limits_have_their_slope_in_both_modes_under_vmap_and_in_a_graph(rule: str) -> None:
    formula, callables = PAIRS["variance preserving"]
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    f, g = getattr(formula, rule), getattr(callables, rule)
    slope = torch.func.jvp(f, (t,), (torch.ones_like(t),))[1]
    assert slope.isfinite().all()
    torch.testing.assert_close(torch.func.jvp(g, (t,), (torch.ones_like(t),))[1], slope, rtol=1e-7, atol=1e-7)
    leaf = t.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(g(leaf).sum(), leaf)[0], slope, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(torch.func.vmap(g)(t), f(t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["variance preserving", "cancelling"])
def test_fields_their_rates_and_conversions_are_those_of_the_formula_at_the_data(name: str) -> None:
    formula, callables = PAIRS[name]
    x, v = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = (problems.gaussian_mixture((0.3, 0.7), [[0.0, 1], [1, -1]], (0.2, 0.4), I).b for I in PAIRS[name])
    torch.testing.assert_close(other(1.0, x), one(1.0, x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other.dt(1.0, x), one.dt(1.0, x), rtol=1e-6, atol=1e-6)
    for source, target in (("velocity", "denoiser"), ("velocity", "noise"), ("score", "velocity")):
        found, wanted = (I.convert(1.0, x, v, source, target) for I in (callables, formula))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_nothing_is_invented_where_there_is_no_limit_or_no_end() -> None:
    half = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    powers = limit_at_ends(lambda t: torch.where(t == 1, torch.nan, 1 + (1 - t).sqrt()), half)
    assert powers.isnan().tolist() == [False, False, True]
    inside = limit_at_ends(lambda t: torch.where(t == 0.5, torch.nan, t), half)
    assert inside.isnan().tolist() == [False, True, False]
    infinite = limit_at_ends(lambda t: 1 / (1 - t), half)
    assert infinite.tolist() == [1.0, 2.0, torch.inf]
    smooth = limit_at_ends(lambda t: torch.where(t == 1, torch.nan, torch.exp(t)), half)
    torch.testing.assert_close(smooth, half.exp(), rtol=1e-13, atol=0)


def test_a_look_that_finds_no_nan_costs_no_evaluation() -> None:
    calls = []

    def counted(t: Tensor) -> Tensor:
        calls.append(t.shape)
        return 1 - t

    I = Interpolant(counted, lambda t: t)
    I.alpha_alpha_dot(torch.ones(5))
    assert len(calls) == 1

"""Solvers of the ODE as samplers: orders, exactness where theory says so, cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import Interpolant, SolutionOperator, VelocityField, guided, interpolants, problems
from flowops.problems import Problem
from flowops.sampling import SOLVERS, solve
from flowops.sampling.grids import noise_levels, uniform
from tests.examples import normal
from tests.methods.rows import learned

LINEAR = interpolants.linear()
EXPONENTIAL = ("ddim", "dpm-solver")


def mixture(I: Interpolant) -> Problem[Any, None]:
    """Two modes in the plane."""
    return problems.gaussian_mixture([0.4, 0.6], [[1.0, -1.0], [-1.0, 0.5]], 0.3, I)


def errors(name: str, method: str, steps: list[int]) -> list[float]:
    """Root mean square errors against a solve at tight tolerance."""
    I = interpolants.named(name)
    b, x0 = mixture(I).b, normal(16, 2)
    exact = SolutionOperator(b, rtol=1e-10, atol=1e-10)(0.0, 1.0, x0)
    given: dict[str, Any] = {"interpolant": I} if method in EXPONENTIAL else {}
    return [float((solve(b, x0, method, steps=k, **given).x - exact).square().mean().sqrt()) for k in steps]


@pytest.mark.parametrize(
    ("name", "method", "order"),
    [
        ("linear", "euler", 1),
        ("linear", "heun", 2),
        ("linear", "ddim", 1),
        ("trigonometric", "ddim", 1),
        ("edm", "ddim", 1),
        ("edm", "dpm-solver", 2),  # its noise levels are bounded and positive
    ],
)
def test_measured_orders_are_those_of_the_theory(name: str, method: str, order: int) -> None:
    steps = [64, 128, 256]
    slope = np.polyfit(np.log(steps), np.log(errors(name, method, steps)), 1)[0]
    assert abs(slope + order) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "trigonometric"])
def test_at_singular_ends_the_second_order_loses_a_logarithm_only(name: str) -> None:
    steps = [128, 256, 512, 1024]
    scaled = [error * k**2 / np.log(k) for error, k in zip(errors(name, "dpm-solver", steps), steps, strict=True)]
    slope = np.polyfit(np.log(steps), np.log(scaled), 1)[0]
    assert abs(slope) < 0.2


@pytest.mark.parametrize("method", EXPONENTIAL)
@pytest.mark.parametrize("name", ["linear", "trigonometric", "cosine", "variance_preserving", "edm"])
def test_a_point_is_hit_exactly_whatever_the_steps(method: str, name: str) -> None:
    I, point = interpolants.named(name), torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    b, ends = problems.empirical(point, I).b, torch.tensor([0.0, 1.0], dtype=torch.float64)
    for grid in ([0.0, 1.0], [0.0, 0.3, 1.0], [0.0, 0.1, 0.2, 0.9, 1.0], noise_levels(6, I, sigma_min=0.1)):
        x0 = normal(4, 2)
        (alpha0, alpha1), (beta0, beta1) = I.alpha(ends), I.beta(ends)
        wanted = beta1 * point + alpha1 / alpha0 * (x0 - beta0 * point)  # the point, up to the schedule's defects
        assert_close(solve(b, x0, method, grid=grid, interpolant=I).x, wanted)


def test_the_straight_interpolant_makes_ddim_the_euler_method() -> None:
    b, x0 = mixture(LINEAR).b, normal(5, 2)
    euler, ddim = solve(b, x0, "euler", steps=7), solve(b, x0, "ddim", steps=7, interpolant=LINEAR)
    assert_close(ddim.x, euler.x)


def test_ddim_is_invariant_under_a_change_of_schedule() -> None:
    """Its steps know the clock through the noise levels alone."""
    results = []
    for name in ("linear", "trigonometric", "cosine"):
        I = interpolants.named(name)
        grid = noise_levels(8, I)
        results.append(solve(mixture(I).b, normal(5, 2), "dpm-solver", grid=grid, interpolant=I).x)
    assert_close(results[1], results[0])
    assert_close(results[2], results[0])


def test_the_second_order_formula_against_the_letters_of_its_paper() -> None:
    I, b, x = interpolants.trigonometric(), mixture(interpolants.trigonometric()).b, normal(3, 2)
    grid = [0.0, 0.2, 0.45, 0.7, 1.0]
    got = solve(b, x, "dpm-solver", grid=grid, interpolant=I).x

    def denoiser(t: float, y: Tensor) -> Tensor:
        return b.denoiser(t, y)

    signal = [float(I.beta(torch.tensor(t).double())) for t in grid]
    noise = [float(I.alpha(torch.tensor(t).double())) for t in grid]
    before = denoiser(0.0, x)
    x = noise[1] / noise[0] * x + (signal[1] - noise[1] / noise[0] * signal[0]) * before  # lambda = -infinity before
    half = np.log(np.array(signal[1:-1]) / np.array(noise[1:-1]))
    for i in (1, 2):
        h = half[i] - half[i - 1]
        r = np.inf if i == 1 else (half[i - 1] - half[i - 2]) / h
        now = denoiser(grid[i], x)
        D = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
        x, before = noise[i + 1] / noise[i] * x - signal[i + 1] * (np.exp(-h) - 1) * D, now
    assert_close(got, denoiser(grid[3], x))  # all of the noise is taken away in the last step


@pytest.mark.parametrize(
    ("method", "options", "calls"),
    [
        ("euler", {"steps": 5}, 5),
        ("heun", {"steps": 5}, 10),
        ("ddim", {"steps": 5, "interpolant": LINEAR}, 5),
        ("dpm-solver", {"grid": uniform(5), "interpolant": LINEAR}, 5),
    ],
)
def test_calls_are_evaluations_per_sample_and_guidance_doubles_them(
    method: str, options: dict[str, Any], calls: int
) -> None:
    X, x0 = learned(), normal(4, 2)
    b = X.given(label=torch.tensor(0)).velocity()
    solved = solve(b, x0, method, **options)
    assert solved.calls == calls
    assert not solved.x.requires_grad
    assert solve(guided(b, b, 2.0), x0, method, **options).calls == 2 * calls


def test_the_adaptive_solver_spends_more_for_a_smaller_tolerance() -> None:
    b, x0 = mixture(LINEAR).b, normal(8, 2)
    exact = SolutionOperator(b, rtol=1e-10, atol=1e-10)(0.0, 1.0, x0)
    rough, default, fine = (solve(b, x0, tolerance=tolerance) for tolerance in (1e-2, None, 1e-7))
    assert rough.calls < default.calls < fine.calls
    assert_close(fine.x, exact, rtol=1e-5, atol=1e-5)
    assert_close(default.x, exact, rtol=1e-3, atol=1e-3)


def test_fields_take_conditions_per_sample_and_events_any_shape() -> None:
    class ByLabel(VelocityField):
        def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
            return label.reshape(-1, 1, 1).to(x) * torch.ones_like(x)

    x0, label = normal(3, 2, 2), torch.arange(3)
    for method in SOLVERS:
        given: dict[str, Any] = {} if method == "dopri5" else {"steps": 3}
        given |= {"interpolant": LINEAR} if method in EXPONENTIAL else {}
        assert_close(solve(ByLabel().given(label=label), x0, method, **given).x[:, 0, 0], x0[:, 0, 0] + label)


@pytest.mark.parametrize(
    ("method", "options", "kind", "message"),
    [
        ("rk9", {"steps": 2}, ValueError, "`method` must be one of euler, heun, ddim, dpm-solver, dopri5"),
        ("heun", {}, ValueError, "`steps` or `grid` must be given for heun, one of them, got neither"),
        ("heun", {"steps": 2, "grid": [0.0, 1.0]}, ValueError, "one of them, got both"),
        ("heun", {"steps": 0}, ValueError, "`steps` must be a whole number of at least 1, got 0"),
        ("heun", {"steps": 2, "tolerance": 0.1}, ValueError, "`tolerance` must not be given for heun"),
        ("heun", {"steps": 2, "interpolant": LINEAR}, ValueError, "`interpolant` must not be given for heun"),
        ("dopri5", {"steps": 2}, ValueError, "must not be given for dopri5"),
        ("dopri5", {"tolerance": 0.0}, ValueError, "`tolerance` must be positive, got 0.0"),
        ("dpm-solver", {"steps": 2}, TypeError, "`interpolant` must be given for dpm-solver, got NoneType"),
        (
            "ddim",
            {"steps": 2, "interpolant": Interpolant.from_expressions("1-t**2", "t**2")},
            ValueError,
            "`interpolant` must have a rising beta / alpha at time 0",
        ),
    ],
)
def test_wrong_arguments_are_refused(method: str, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        solve(mixture(LINEAR).b, normal(2, 2), method, **options)


@pytest.mark.parametrize(("method", "options"), [("euler", {"steps": 2}), ("dopri5", {})])
def test_no_samples_are_refused(method: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`x0` must hold at least one state, got none"):
        solve(mixture(LINEAR).b, torch.empty(0, 2), method, **options)


@pytest.mark.usefixtures("unchecked")
def test_a_map_is_no_field() -> None:
    with pytest.raises(TypeError, match=r"`b` must be a VelocityField, got LearnedJointMap; pass X.velocity\(\)"):
        solve(learned(), normal(2, 2), "heun", steps=2)  # type: ignore[arg-type]

"""Averages of weights: closed forms along known trajectories, profiles by quadrature, re-weighting after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, optimize
from torch import Tensor, nn
from torch.testing import assert_close

from flowops.training._power_profile import WIDEST, coefficients, exponent, inner_products
from flowops.training.averages import Averages, Snapshot, posthoc

WIDTHS = [0.28, 0.1, 0.05, 0.01]


class Point(nn.Module):
    """One parameter and the buffers a network may have."""

    seen: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1, bias=False, dtype=value.dtype)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.go(value, 0)

    def go(self, value: Tensor, seen: int) -> None:
        with torch.no_grad():
            self.inner.weight.copy_(value.expand(1, 2))
        self.seen.fill_(seen)


def trajectory(step: float) -> Tensor:
    return torch.tensor([np.cos(step / 40), np.log1p(step)], dtype=torch.float64)


def trained(steps: int, decays: Any, power: Any, at: Callable[[int], Tensor] = trajectory) -> Averages:
    module = Point(at(0))
    averages = Averages(module, decays, power)
    for step in range(1, steps + 1):
        module.go(at(step), step)
        averages.update(module, step)
    return averages


def integral(gamma: float, steps: int, at: Callable[[int], Tensor] = trajectory) -> Tensor:
    """The power-function average of the trajectory that is constant between steps, integrated piece by piece."""
    pieces = []
    for k in range(1, steps + 1):
        mass, _ = integrate.quad(lambda tau: (gamma + 1) * (tau / steps) ** gamma / steps, k - 1, k, epsabs=1e-14)
        pieces.append(mass * at(k))
    return torch.stack(pieces).sum(0)[None]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_power_average_is_the_integral_of_its_profile(width: float) -> None:
    averages = trained(60, (), (width,))
    assert averages.names == (f"power-{width}",)
    assert_close(averages.state(averages.names[0])["inner.weight"], integral(exponent(width), 60), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_width_of_a_profile_is_its_standard_deviation(width: float) -> None:
    gamma = exponent(width)
    mass, mean, square = (
        integrate.quad(lambda u, k=k: (gamma + 1) * u ** (gamma + k), 0, 1, epsabs=1e-13)[0] for k in range(3)
    )
    assert mass == pytest.approx(1, rel=1e-10)
    assert (square - mean**2) ** 0.5 == pytest.approx(width, rel=1e-6)


def test_the_widest_profile_is_uniform() -> None:
    assert exponent(WIDEST) == pytest.approx(0, abs=1e-12)
    averages = trained(30, (), (WIDEST,))
    mean = torch.stack([trajectory(step) for step in range(1, 31)]).mean(0)[None]
    assert_close(averages.state(averages.names[0])["inner.weight"], mean)


def test_an_exponential_average_by_hand() -> None:
    values = [3.0, 5.0, -1.0, 4.0]
    averages = trained(3, (0.2, 0.9), (), lambda step: torch.tensor([values[step]], dtype=torch.float64))
    assert averages.names == ("0.2", "0.9")
    # beta is 2/11, 3/12, 4/13 while these are below the decay
    first = 2 / 11 * 3 + 9 / 11 * 5
    second = 0.25 * first + 0.75 * -1
    third = 4 / 13 * second + 9 / 13 * 4
    assert_close(averages.state("0.9")["inner.weight"], torch.full((1, 2), third, dtype=torch.float64))
    low = 0.2 * (0.2 * first + 0.8 * -1) + 0.8 * 4
    assert_close(averages.state("0.2")["inner.weight"], torch.full((1, 2), low, dtype=torch.float64))


def test_a_constant_trajectory_stays_as_it_is() -> None:
    averages = trained(50, (0.999,), (0.1,), lambda _: torch.tensor([0.1, 1 / 3], dtype=torch.float32))
    for name in averages.names:
        weight = averages.state(name)["inner.weight"]
        assert weight.dtype == torch.float32
        assert_close(weight, torch.tensor([[0.1, 1 / 3]]), rtol=1e-7, atol=0)


def test_averages_have_no_gradient_and_buffers_are_taken_over() -> None:
    module = Point(trajectory(0))
    averages = Averages(module, (0.99,))
    assert not list(averages.parameters())[0].requires_grad
    module.go(trajectory(1), 7)
    averages.update(module, 1)
    assert averages.state("0.99")["seen"] == 7
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(value.requires_grad for value in averages.state("0.99").values())


def test_weights_in_bfloat16_are_averaged_in_float32() -> None:
    module = Point(torch.tensor([1.0, 2.0]).bfloat16())
    averages = Averages(module, (0.9,))
    module.go(torch.tensor([1.0078125, 2.0]).bfloat16(), 1)
    averages.update(module, 1)
    weight = averages.state("0.9")["inner.weight"]
    assert_close(weight, torch.tensor([[1 + 0.0078125 * 9 / 11, 2.0]]))
    averages.copy_to("0.9", module)
    assert module.inner.weight.dtype == torch.bfloat16


def test_an_average_goes_into_a_module_and_comes_back_from_a_state() -> None:
    averages = trained(9, (0.9,), (0.1,))
    saved = {name: {key: value.clone() for key, value in averages.state(name).items()} for name in averages.names}
    other, module = Averages(Point(trajectory(0)), (0.9,), (0.1,)), Point(trajectory(0))
    for name in averages.names:
        other.load(name, saved[name])
        other.copy_to(name, module)
        for key, value in module.state_dict().items():
            assert torch.equal(value, saved[name][key])
    module.go(trajectory(10), 10)
    for each in (averages, other):
        each.update(module, 10)
    assert_close(averages.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_tied_and_missing_parameters() -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    averages = Averages(tied, (0.5,))
    averages.update(tied, 1)
    state = averages.state("0.5")
    assert state["0.weight"].data_ptr() == state["1.weight"].data_ptr()
    Averages(nn.ReLU(), (0.5,)).update(nn.ReLU(), 1)


def test_inner_products_of_profiles_by_quadrature() -> None:
    steps, widths = np.array([10.0, 25.0, 40.0]), np.array([0.25, 0.1, 0.04])
    gammas = np.array([exponent(width) for width in widths])
    found = inner_products(steps, gammas, steps[::-1], gammas)

    def profile(tau: float, n: float, gamma: float) -> float:
        return (gamma + 1) * (tau / n) ** gamma / n

    for i, (n, gamma) in enumerate(zip(steps, gammas, strict=True)):
        for j, (m, delta) in enumerate(zip(steps[::-1], gammas, strict=True)):
            value, _ = integrate.quad(
                lambda tau, a=(n, gamma), b=(m, delta): profile(tau, *a) * profile(tau, *b), 0, min(n, m), epsabs=1e-13
            )
            assert found[i, j] == pytest.approx(value, rel=1e-8, abs=1e-12)


def test_the_coefficients_are_those_of_least_squares_on_a_grid() -> None:
    steps, gammas = np.array([20.0, 40.0, 60.0, 60.0]), np.array([5.0, 5.0, 5.0, 15.0])
    tau = (np.arange(60_000) + 0.5) / 1000

    def profile(n: float, gamma: float) -> Any:
        return np.where(tau < n, (gamma + 1) * np.minimum(tau / n, 1) ** gamma / n, 0)

    A = np.stack([profile(n, gamma) for n, gamma in zip(steps, gammas, strict=True)], 1)
    expected = optimize.lsq_linear(A, profile(50.0, 8.0)).x
    np.testing.assert_allclose(coefficients(steps, gammas, 50, 8.0), expected / expected.sum(), atol=1e-4)


def snapshots(widths: tuple[float, ...], every: int, steps: int) -> list[Snapshot]:
    module, found = Point(trajectory(0)), []
    averages = Averages(module, (), widths)
    for step in range(1, steps + 1):
        module.go(trajectory(step), step)
        averages.update(module, step)
        if step % every == 0:
            for width, name in zip(widths, averages.names, strict=True):
                state = {key: value.clone() for key, value in averages.state(name).items()}
                found.append(Snapshot(step, width, state))
    return found


def test_a_stored_average_comes_back_exactly() -> None:
    stored = snapshots((0.05, 0.1), every=20, steps=200)
    for snapshot in (stored[0], stored[7], stored[-1], stored[-2]):
        state = posthoc(stored, snapshot.sigma_rel, snapshot.step)
        assert_close(state["inner.weight"], snapshot.state["inner.weight"], rtol=1e-6, atol=1e-6)
        assert state["seen"] == snapshot.step


@pytest.mark.parametrize(
    ("width", "step", "error"), [(0.07, 400, 1e-5), (0.03, 400, 1e-5), (0.1, 395, 1e-4), (0.2, 400, 2e-3)]
)
def test_other_averages_are_close_to_those_of_the_trajectory(width: float, step: int, error: float) -> None:
    stored = snapshots((0.05, 0.1), every=10, steps=400)
    exact = integral(exponent(width), step)
    off = (posthoc(stored, width, step)["inner.weight"] - exact).abs().max()
    nearest = min((s for s in stored if s.step >= step), key=lambda s: abs(s.sigma_rel - width))
    assert off < error
    assert off < 0.01 * (nearest.state["inner.weight"] - exact).abs().max()  # better than not re-weighting at all


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda m: Averages(m, (1.0,)), "`decays` must be at least 0 and below 1, got 1.0"),
        (lambda m: Averages(m, (), (0.5,)), "`sigma_rel` must be above 0 and at most 0.2887"),
        (lambda m: Averages(m, (), (0.0,)), "`sigma_rel` must be above 0"),
        (lambda m: Averages(m, (0.9, 0.90000001)), "`decays` and `power` must differ in six digits, got 0.9, 0.9"),
        (lambda m: Averages(m, (0.9,)).update(m, 0), "`step` must count from 1, got 0"),
        (lambda m: Averages(m, (0.9,)).state("0.99"), "`name` must be one of 0.9, got '0.99'"),
        (lambda m: Averages(m, ()).copy_to("0.99", m), r"`name` must be one of \(no average\), got '0.99'"),
        (lambda _: posthoc([], 0.1, 1), "`snapshots` must hold at least one"),
        (lambda m: posthoc([Snapshot(3, 0.1, m.state_dict())] * 2, 0.1, 3), "must differ in step or width"),
        (lambda m: posthoc([Snapshot(3, 0.1, m.state_dict())], 0.1, 4), "`step` must be at least 1 and at most 3"),
        (
            lambda m: posthoc([Snapshot(3, 0.1, m.state_dict()), Snapshot(4, 0.1, {})], 0.1, 3),
            "`snapshots` must be of one network",
        ),
    ],
)
def test_wrong_arguments_are_refused(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(Point(trajectory(0)))

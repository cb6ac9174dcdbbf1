"""Power-function averages: profiles by quadrature, and averages of other widths made after training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize
from torch.testing import assert_close

from flowops.runs import Snapshot, posthoc
from flowops.runs.power import WIDEST, coefficients, exponent, inner_products
from flowops.training.averages import Averages
from tests.runs.trajectories import WIDTHS, Point, integral, trajectory


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
        (lambda _: exponent(0.5), "`sigma_rel` must be above 0 and at most 0.2887"),
        (lambda _: exponent(0.0), "`sigma_rel` must be above 0"),
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

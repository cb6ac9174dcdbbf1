"""Wasserstein distances: optimal maps in closed form, POT and scipy, lines, derivatives, and the errors."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import sliced_wasserstein2, wasserstein, wasserstein2

ot = pytest.importorskip("ot", reason="POT is not installed")
DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=DOUBLE)


@pytest.mark.parametrize("n", [1, 2, 300])
def test_a_shift_is_as_far_as_it_shifts(n: int) -> None:
    x = normal(n, 2)
    y = (x + torch.tensor([3.0, -4.0], dtype=DOUBLE))[torch.randperm(n)]
    assert_close(wasserstein2(x, y), scalar(5.0))


def test_the_gradient_of_a_convex_function_is_the_optimal_map() -> None:
    x, root = normal(200, 3), normal(3, 3, seed=1)
    image = x @ (root @ root.T)
    assert_close(wasserstein2(x, image).square(), (x - image).square().sum(1).mean())


def test_normal_samples_approach_the_distance_of_their_laws() -> None:
    # W_2^2 = |m|^2 + sum_i (sigma_i - 1)^2; the samples' own distance to their laws adds a few percent
    sigma, mean = torch.tensor([2.0, 0.5], dtype=DOUBLE), torch.tensor([3.0, 0.0], dtype=DOUBLE)
    value = wasserstein2(normal(1500, 2), mean + sigma * normal(1500, 2, seed=1)).item()
    assert value == pytest.approx(math.sqrt(9 + 1 + 0.25), rel=0.03)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 25), (1, 7)])
def test_the_plan_costs_what_pot_says(n: int, m: int) -> None:
    x, y = normal(n, 4), 1 + normal(m, 4, seed=1)
    expected = ot.emd2([], [], ot.dist(x.numpy(), y.numpy()))
    assert_close(wasserstein2(x, y), scalar(math.sqrt(expected)))


def test_equal_sizes_need_no_pot_and_others_say_that_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(60, 2), normal(60, 2, seed=1)
    with_pot = wasserstein2(x, y)
    monkeypatch.setattr(wasserstein, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "ot", None)
    assert_close(wasserstein2(x, y), with_pot)
    with pytest.raises(ImportError, match=r"flowops\[ot\]"):
        wasserstein2(x, y[:30])


def test_a_plan_that_is_not_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasserstein, "_PIVOTS", 1)
    with pytest.raises(RuntimeError, match="was not found"):
        wasserstein2(normal(50, 2), normal(40, 2, seed=1))


@pytest.mark.parametrize("distance", [wasserstein2, sliced_wasserstein2])
def test_equal_samples_are_at_zero_with_no_slope(distance: Any) -> None:
    x = normal(20, 2).requires_grad_()
    value = distance(x, x.detach().flip(0))
    (slope,) = torch.autograd.grad(value, x)
    assert value == 0
    assert_close(slope, torch.zeros_like(x))


@pytest.mark.parametrize("distance", [wasserstein2, sliced_wasserstein2])
def test_the_slope_in_the_samples_is_that_of_finite_differences(distance: Any) -> None:
    x, y = normal(6, 2).requires_grad_(), normal(4, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(distance, (x, y))


@pytest.mark.parametrize("distance", [wasserstein2, sliced_wasserstein2])
def test_images_in_float32_are_points_in_float64(distance: Any) -> None:
    x, y = normal(30, 1, 4, 4, dtype=torch.float32), normal(20, 1, 4, 4, seed=1, dtype=torch.float32)
    value = distance(x, y)
    assert value.dtype == DOUBLE
    assert_close(value, distance(x.flatten(1).double(), y.flatten(1).double()), rtol=0, atol=0)


@pytest.mark.parametrize("distance", [wasserstein2, sliced_wasserstein2])
def test_samples_far_from_the_origin_lose_no_digits(distance: Any) -> None:
    x, y = normal(50, 40).mul(64).round() / 64, normal(50, 40, seed=1).mul(64).round() / 64
    assert_close(distance(x + 2.0**30, y + 2.0**30), distance(x, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("n", "m"), [(31, 31), (24, 18), (7, 1), (10, 30)])
def test_lines_give_what_pot_says_for_the_same_directions(n: int, m: int) -> None:
    x, y = normal(n, 3), 1 + 2 * normal(m, 3, seed=1)
    directions = torch.randn(3, 16, generator=torch.Generator().manual_seed(5), dtype=DOUBLE)
    directions = directions / directions.norm(dim=0)
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.numpy())
    found = sliced_wasserstein2(x, y, projections=16, generator=torch.Generator().manual_seed(5))
    assert_close(found, scalar(float(expected)))


@pytest.mark.parametrize("m", [50, 35])
def test_on_the_line_there_is_nothing_to_slice(m: int) -> None:
    x, y = normal(50, 1), 2 * normal(m, 1, seed=1)
    assert_close(sliced_wasserstein2(x, y, projections=3), wasserstein2(x, y))


def test_a_shift_is_seen_by_its_share_along_each_line() -> None:
    x = normal(20, 4)
    value = sliced_wasserstein2(x, x + 1, projections=20_000).item()
    assert value**2 == pytest.approx(1.0, abs=6 * 0.7 / math.sqrt(20_000))  # |(1, 1, 1, 1)|^2 / 4, deviation 0.7


def test_the_lines_are_the_same_unless_drawn_and_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(20, 3), normal(30, 3, seed=1)
    value = sliced_wasserstein2(x, y)
    assert value != sliced_wasserstein2(x, y, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(wasserstein, "_BLOCK", 200)
    assert_close(sliced_wasserstein2(x, y), value)


@pytest.mark.parametrize(
    ("distance", "x", "y", "message"),
    [
        (wasserstein2, torch.zeros(5001, 1), torch.zeros(2, 1), "at most 5000 samples for an exact plan, got 5001"),
        (wasserstein2, torch.zeros(0, 1), torch.zeros(2, 1), "`x` must have at least 1 samples, got 0"),
        (wasserstein2, torch.zeros(2, 1), torch.full((2, 1), math.nan), "`y` must be finite"),
        (sliced_wasserstein2, torch.zeros(2, 1), torch.zeros(2, 3), r"event of `x`, \[1\], got \[3\]"),
    ],
)
def test_what_makes_no_sense_is_refused(distance: Any, x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distance(x, y)


def test_no_projections_are_refused() -> None:
    with pytest.raises(ValueError, match="`projections` must be a whole number of at least 1, got 0"):
        sliced_wasserstein2(torch.zeros(2, 1), torch.zeros(2, 1), projections=0)

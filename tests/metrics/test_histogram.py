"""The histogram divergence: values by hand, the published floors, and the errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import problems
from flowops.interpolants import linear
from flowops.metrics import cell_masses, histogram_kl

HALVES = torch.tensor([0.5, 0.5], dtype=torch.float64)


def line(*positions: float) -> Tensor:
    return torch.tensor(positions)[:, None]


def board(samples: int, seed: int) -> tuple[problems.Problem[Any, Any], Tensor]:
    target = problems.checkerboard(linear())
    return target, target.sample_data(samples, generator=torch.Generator().manual_seed(seed))


def test_two_cells_by_hand() -> None:
    # one sample of four is left, three are right: (1/2) log(2/1) + (1/2) log(2/3)
    value = histogram_kl(line(-0.5, 0.1, 0.2, 0.9), HALVES, bins=2)
    assert value.shape == ()
    assert_close(value, torch.tensor(0.5 * math.log(4 / 3), dtype=torch.float64))


def test_samples_that_match_score_zero() -> None:
    assert_close(histogram_kl(line(-0.5, 0.5), HALVES, bins=2), torch.tensor(0.0, dtype=torch.float64))


@pytest.mark.parametrize("lost", [1.0, -1.1, math.inf, math.nan])
def test_a_sample_outside_the_half_open_box_is_mass_lost(lost: float) -> None:
    value = histogram_kl(line(-0.5, 0.5, lost), HALVES, bins=2)
    assert_close(value, torch.tensor(math.log(3 / 2), dtype=torch.float64))


def test_an_edge_belongs_to_the_cell_that_begins_there() -> None:
    certain = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert_close(histogram_kl(line(0.0, 0.0), certain, bins=2), torch.tensor(0.0, dtype=torch.float64))


@pytest.mark.parametrize(("empty", "expected"), [(0.5, 0.5 * math.log(1 / 2) + 0.5 * math.log(2)), (0.0, math.inf)])
def test_an_empty_cell_counts_as_told(empty: float, expected: float) -> None:
    # q = (1, empty / 2): both samples are left
    value = histogram_kl(line(-0.5, -0.1), HALVES, bins=2, empty=empty)
    assert_close(value, torch.tensor(expected, dtype=torch.float64))


def test_a_cell_without_mass_costs_only_what_it_takes_away() -> None:
    certain = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert_close(histogram_kl(line(-0.5, 0.5), certain, bins=2), torch.tensor(math.log(2), dtype=torch.float64))


def test_the_first_axis_of_a_table_is_the_first_coordinate() -> None:
    masses = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert histogram_kl(torch.tensor([[0.5, 3.0]]), masses, bins=2, low=0.0, high=4.0) == 0
    assert histogram_kl(torch.tensor([[3.0, 0.5]]), masses, bins=2, low=0.0, high=4.0) > 0


@pytest.mark.parametrize(("bins", "points", "floor"), [(50, 1, 0.065), (48, 1, 0.0092), (50, 2, 0.0107)])
def test_exact_samples_score_the_floor_of_the_histogram(bins: int, points: int, floor: float) -> None:
    # standard deviations over seeds: 0.0015 where cells are cut, else 0.0004; six of them are allowed (1e-8)
    target, samples = board(64_000, seed=0)
    value = histogram_kl(samples, target, bins=bins, points=points).item()
    assert abs(value - floor) < 6 * (0.0015 if (bins, points) == (50, 1) else 0.0004)


def test_the_floor_falls_like_the_number_of_samples() -> None:
    scores = [histogram_kl(board(n, seed=1)[1], problems.checkerboard(linear()), bins=8).item() for n in (500, 8000)]
    assert 4 < scores[0] / scores[1] < 64  # 16 in the mean; the ratio of two chi-squared variables of 31 degrees


def test_fewer_samples_than_cells_score_far_too_little() -> None:
    """The range that the docstring names: most cells are empty, and each counts as half a sample."""
    target, samples = board(100, seed=0)
    assert histogram_kl(samples, target) < -1
    assert histogram_kl(samples, target, bins=4) > 0


def test_masses_of_a_board_by_hand() -> None:
    target = problems.checkerboard(linear(), squares=2)  # dark: lower left and upper right
    quarters = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.float64) / 8
    assert_close(cell_masses(target, bins=4), quarters)
    # three cells: the middle ones are cut, and their center lies on the edge, which belongs to what begins there
    center = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]], dtype=torch.float64) / 5
    assert_close(cell_masses(target, bins=3), center)
    exact = torch.tensor([[4.0, 2, 0], [2, 2, 2], [0, 2, 4]], dtype=torch.float64) / 18
    assert_close(cell_masses(target, bins=3, points=2), exact)


def test_masses_of_a_smooth_law_converge_to_those_of_scipy() -> None:
    from scipy.stats import norm

    identity = torch.eye(1, dtype=torch.float64)
    target = problems.gaussian(torch.zeros(1, dtype=torch.float64), identity, linear())
    edges = torch.linspace(-2, 2, 9, dtype=torch.float64).numpy()
    expected = torch.as_tensor(norm.cdf(edges)).diff()
    found = cell_masses(target, bins=8, low=-2.0, high=2.0, points=64)
    assert_close(found, expected / expected.sum(), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": torch.zeros(3, 2)}, r"shape \[n, 1\], got \[3, 2\]"),
        ({"samples": torch.zeros(0, 1)}, r"shape \[n, 1\], got \[0, 1\]"),
        ({"bins": 3}, "table of 3 entries per axis"),
        ({"reference": torch.tensor([0.5, 0.6])}, "add up to one, got a sum of 1.1"),
        ({"reference": torch.tensor([-0.5, 1.5])}, "add up to one"),
        ({"bins": 0}, "`bins` must be a whole number of at least 1, got 0"),
        ({"low": 1.0}, "`low` must be below `high`"),
        ({"empty": -1.0}, "`empty` must not be negative"),
        ({"reference": problems.logistic()}, "no density in closed form"),
        ({"reference": problems.checkerboard(linear()), "low": 2.0, "high": 3.0}, "must have mass in the box"),
        (
            {"reference": problems.checkerboard(linear()), "points": 0},
            "`points` must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"samples": line(0.0), "reference": HALVES, "bins": 2} | arguments
    with pytest.raises(ValueError, match=message):
        histogram_kl(given.pop("samples"), given.pop("reference"), **given)

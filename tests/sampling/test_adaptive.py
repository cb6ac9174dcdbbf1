"""Samples to a tolerance: what each of them costs, what is told, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap
from flowops.sampling import adaptive_sample
from flowops.sampling.adaptive import distance
from flowops.sampling.grids import uniform
from tests.examples import normal, over


class Rough(FlowMap):
    r"""$x+d\,(t-s)^2$: after $k$ equal steps wrong by $d/k$, for every sample its own $d$."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = list[int]()

    def forward(self, s: Tensor, t: Tensor, x: Tensor, difficulty: Tensor) -> Tensor:
        self.batches.append(len(x))
        return x + over(difficulty * (t - s) ** 2, x)


DIFFICULTY = torch.tensor([0.0, 0.1, 1.0, 4.0], dtype=torch.float64)


def rough(difficulty: Tensor = DIFFICULTY) -> Rough:
    """The map of samples of these difficulties."""
    return Rough().given(difficulty=difficulty)


def test_harder_samples_take_more_steps_and_leave_when_they_have_arrived() -> None:
    X, x0 = rough(), torch.zeros(4, 2, dtype=torch.float64)
    found = adaptive_sample(X, x0, 0.06, order=1, halvings=8)
    assert found.steps.tolist() == [2, 2, 16, 64]
    assert found.calls.tolist() == [3, 3, 31, 127]
    assert_close(found.x[:, 0], DIFFICULTY / found.steps)
    assert bool(found.reached.all())
    steps = [(1, 4), (2, 4), (4, 2), (8, 2), (16, 2), (32, 1), (64, 1)]
    assert X.batches == [size for count, size in steps for _ in range(count)]


def test_what_has_an_order_is_extrapolated_where_that_is_nearer() -> None:
    found = adaptive_sample(rough(), torch.zeros(4, 2, dtype=torch.float64), 1e-3)
    assert found.order.tolist() == [1, 2, 2, 2]
    assert found.steps.tolist() == [2, 4, 4, 4]
    assert_close(found.x, torch.zeros_like(found.x), rtol=0, atol=1e-12)


def test_two_powers_of_the_step_are_extrapolated_away() -> None:
    r"""After $k$ equal steps $x+d\,(t-s)^2+e\,(t-s)^3$ is wrong by $d/k+e/k^2$."""
    X = FlowMap.from_function(lambda s, t, x: x + over((t - s) ** 2 + 3 * (t - s) ** 3, x))
    x0 = normal(3, 2)
    found = adaptive_sample(X, x0, 1e-9)
    assert found.order.tolist() == [3, 3, 3]
    assert found.steps.tolist() == [8, 8, 8]
    assert_close(found.x, x0, rtol=0, atol=1e-12)


def test_a_sample_is_the_same_alone_in_chunks_and_among_others() -> None:
    x0 = normal(4, 3, 2)
    whole = adaptive_sample(rough(), x0, 0.05, order=1)
    for chunk in (1, 3):
        parts = adaptive_sample(rough(), x0, 0.05, order=1, chunk=chunk)
        for name in ("x", "error", "steps", "order", "calls", "reached"):
            assert_close(getattr(parts, name), getattr(whole, name))
    alone = adaptive_sample(rough(DIFFICULTY[3:]), x0[3:], 0.05, order=1)
    assert_close(alone.x, whole.x[3:])


def test_the_first_pass_goes_along_the_grid_that_is_given() -> None:
    X = FlowMap.from_function(lambda s, t, x: x + over((t - s) ** 2, x))
    found = adaptive_sample(X, torch.zeros(1, 1).double(), 1.0, grid=[0.0, 0.2, 1.0], order=1)
    assert found.steps.tolist() == [4]
    assert found.calls.tolist() == [6]
    assert_close(found.x, torch.tensor([[2 * 0.1**2 + 2 * 0.4**2]]).double())
    assert adaptive_sample(X, torch.zeros(1, 1), 1.0, grid=uniform(2)).calls.tolist() == [6]


def test_what_does_not_reach_the_tolerance_is_told_in_a_sentence() -> None:
    with pytest.warns(UserWarning, match=r"^2 of 4 samples did not reach the tolerance 0\.03 in 4 steps; raise it, or"):
        found = adaptive_sample(rough(), torch.zeros(4, 1).double(), 0.03, order=1, halvings=2)
    assert found.reached.tolist() == [True, True, False, False]
    assert_close(found.x[2:, 0], DIFFICULTY[2:] / 4)


def test_a_sample_that_is_no_number_does_not_stop_the_others() -> None:
    X = FlowMap.from_function(lambda s, t, x: x / (x > 0) + over((t - s) ** 2, x) / 10)
    x0 = torch.tensor([[1.0], [-1.0]])
    with pytest.warns(UserWarning, match="1 of 2 samples did not reach the tolerance"):
        found = adaptive_sample(X, x0, 0.1)
    assert found.reached.tolist() == [True, False]
    assert bool(found.x[0].isfinite())
    assert not bool(found.x[1].isfinite())


def test_the_distance_is_relative_for_large_states_and_absolute_for_small_ones() -> None:
    x, y = torch.tensor([[0.0, 0.0], [1e6, 1e6]]), torch.tensor([[1e-3, 1e-3], [1e6 + 1e3, 1e6 + 1e3]])
    assert_close(distance(x, y), torch.tensor([1e-3, 1e-3]), rtol=2e-3, atol=0)
    assert distance(torch.zeros(3), torch.ones(3)).shape == (3,)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"tolerance": 0.0}, ValueError, "`tolerance` must be positive, got 0.0; pass"),
        ({"tolerance": "low"}, TypeError, "`tolerance` must be a number"),
        ({"halvings": 0}, ValueError, "`halvings` must be a whole number of at least 1, got 0"),
        ({"order": 0}, ValueError, "`order` must be a whole number of at least 1, got 0"),
        ({"grid": [0.0, 0.5]}, ValueError, "`grid` must run from 0 to 1"),
        ({"x0": torch.empty(0, 2)}, ValueError, "`x0` must hold at least one state, got none"),
        ({"X": torch.nn.Linear(2, 2)}, TypeError, "`X` must be a FlowMap, got Linear"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"X": rough(), "x0": torch.zeros(4, 1), "tolerance": 0.1, **options}
    with pytest.raises(kind, match=message):
        adaptive_sample(given.pop("X"), given.pop("x0"), given.pop("tolerance"), **given)

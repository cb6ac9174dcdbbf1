"""Intervals of means hold the mean as often as they say, and combine."""

from __future__ import annotations

import math

import pytest
import torch

from flowops.certificates import Interval


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    draws = torch.rand(2000, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    held = sum(0.5 in Interval.of_mean(row, 0.9) for row in draws) / len(draws)
    assert abs(held - 0.9) < 0.03


def test_sums_lose_level_and_roots_keep_it() -> None:
    a, b = Interval(4.0, 1.0, 9.0, 0.95), Interval(1.0, -1.0, 4.0, 0.9)
    assert a.root() == Interval(2.0, 1.0, 3.0, 0.95)
    assert b.root().low == 0
    total = a + b
    assert (total.value, total.low, total.high) == (5.0, 0.0, 13.0)
    assert math.isclose(total.level, 0.85)
    assert str(a) == "4 [1, 9]"


@pytest.mark.parametrize(("values", "level"), [(torch.ones(1), 0.95), (torch.ones(3), 1.0), (torch.ones(3), 0.0)])
def test_too_few_draws_and_no_level_are_refused(values: torch.Tensor, level: float) -> None:
    with pytest.raises(ValueError, match="must"):
        Interval.of_mean(values, level)

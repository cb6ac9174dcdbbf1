"""A flow that is another one in an interval of times."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap
from flowops.maps import IntervalMap
from tests.examples import EVENT_IDS, EVENTS, CubicFlow, TwoTimeNetwork, normal

INTERVAL = (0.3, 0.6)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_each_sample_takes_its_own_parts_in_either_direction(event: tuple[int, ...]) -> None:
    inside, outside = LearnedMap(TwoTimeNetwork(event)), CubicFlow()
    X = IntervalMap(inside, outside, INTERVAL)
    pairs = [(0.1, 0.9), (0.9, 0.1), (0.4, 0.5), (0.5, 0.2), (0.0, 0.2), (0.7, 0.65), (0.4, 0.4), (0.2, 0.45)]
    s, t = torch.tensor(pairs).double().unbind(1)
    x = 0.3 * normal(len(pairs), *event)
    a, b, c = outside, inside, outside
    expected = [
        lambda y: c(0.6, 0.9, b(0.3, 0.6, a(0.1, 0.3, y))),
        lambda y: a(0.3, 0.1, b(0.6, 0.3, c(0.9, 0.6, y))),
        lambda y: b(0.4, 0.5, y),
        lambda y: a(0.3, 0.2, b(0.5, 0.3, y)),
        lambda y: a(0.0, 0.2, y),
        lambda y: c(0.7, 0.65, y),
        lambda y: y,
        lambda y: b(0.3, 0.45, a(0.2, 0.3, y)),
    ]
    found = X(s, t, x)
    for i, part in enumerate(expected):
        assert_close(found[i : i + 1], part(x[i : i + 1]), rtol=1e-6, atol=1e-6)


def test_its_field_is_that_of_either_and_the_slope_at_equal_times() -> None:
    inside, outside, x = LearnedMap(TwoTimeNetwork((2,))), CubicFlow(), 0.3 * normal(4, 2)
    X, t = IntervalMap(inside, outside, INTERVAL), torch.tensor([0.1, 0.4, 0.5, 0.8]).double()
    field = X.velocity()(t, x)
    assert_close(field[[0, 3]], outside.velocity()(t, x)[[0, 3]])
    assert_close(field[[1, 2]], inside.velocity()(t, x)[[1, 2]])
    assert_close(X.dt(t, t, x), field)


def test_the_ends_of_the_interval_belong_to_it() -> None:
    inside, x, ends = LearnedMap(TwoTimeNetwork((2,))), 0.3 * normal(2, 2), torch.tensor(INTERVAL, dtype=torch.float64)
    field = IntervalMap(inside, CubicFlow(), INTERVAL).velocity()(ends, x)
    assert_close(field, inside.velocity()(ends, x))
    assert (field - CubicFlow().velocity()(ends, x)).abs().amin() > 1e-3


def test_conditions_reach_both() -> None:
    one, other = (
        FlowMap.from_function(lambda s, t, x, label, k=k: x + k * (t - s)[:, None] * label[:, None]) for k in (2.0, 1.0)
    )
    X, x = IntervalMap(one, other, INTERVAL), torch.zeros(3, 1).double()
    label = torch.tensor([1.0, 2.0, 3.0]).double()
    assert_close(X.given(label=label)(0.0, 1.0, x), 1.3 * label[:, None])
    assert_close(X.given(label=label).subset(torch.tensor([2]))(0.0, 1.0, x[:1]), 1.3 * label[2:, None])


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.7, 0.2)])
def test_an_interval_increases(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="`interval` must be two increasing times, got"):
        IntervalMap(CubicFlow(), CubicFlow(), interval)

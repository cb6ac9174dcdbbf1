"""The arc between two noises: its ends, its norm, its law, and where there is none."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from flowops.sampling import noise, slerp
from tests.examples import EVENT_IDS, EVENTS, normal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("event", EVENTS[1:], ids=EVENT_IDS[1:])
def test_the_ends_are_exact_and_the_norm_goes_from_one_to_the_other(event: tuple[int, ...], dtype: torch.dtype) -> None:
    x, y = normal(4, *event, dtype=dtype), normal(4, *event, seed=1, dtype=dtype)
    assert torch.equal(slerp(x, y, 0.0), x)
    assert torch.equal(slerp(x, y, 1.0), y)
    for w in (0.25, 0.5, 0.9):
        found = slerp(x, y, w)
        assert found.dtype == dtype
        norm = torch.lerp(x.flatten(1).norm(dim=1), y.flatten(1).norm(dim=1), w)
        assert_close(found.flatten(1).norm(dim=1), norm)


def test_the_direction_turns_evenly() -> None:
    x, y = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    for w in (0.2, 0.5, 0.7):
        angle = math.pi / 2 * w
        assert_close(slerp(x, y, w), torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]]).double())


def test_each_sample_may_have_a_weight_of_its_own() -> None:
    x, y = normal(3, 5), normal(3, 5, seed=1)
    w = torch.tensor([0.0, 0.4, 1.0]).double()
    assert_close(slerp(x, y, w), torch.cat([slerp(x[i : i + 1], y[i : i + 1], float(w[i])) for i in range(3)]))


def test_noise_stays_noise_on_the_arc_and_not_on_the_line() -> None:
    x, y = noise(400, (256,), seed=0), noise(400, (256,), seed=1)
    middle, line = slerp(x, y, 0.5), torch.lerp(x, y, 0.5)
    assert abs(float(middle.norm(dim=1).mean()) / 16 - 1) < 0.01
    assert abs(float(middle.square().mean()) - 1) < 0.01
    assert abs(float(line.norm(dim=1).mean()) / 16 - 0.5**0.5) < 0.01  # the negative control


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 0.0])
def test_near_states_are_as_good_as_far_ones(distance: float) -> None:
    x = normal(4, 6)
    y = x + distance * normal(4, 6, seed=1)
    assert_close(slerp(x, y, 0.3), torch.lerp(x, y, 0.3), rtol=0, atol=2 * distance**2 + 1e-14)


def test_where_no_arc_is_the_shortest_it_says_so() -> None:
    x = normal(2, 3)
    with pytest.raises(ValueError, match="`x` and `y` must not be opposite"):
        slerp(x, -2 * x, 0.5)
    with pytest.raises(ValueError, match="must not vanish"):
        slerp(x, torch.zeros_like(x), 0.5)
    with pytest.raises(ValueError, match="`y`"):
        slerp(x, x[:1], 0.5)

"""A map of two stages: which of them is called, values and derivatives."""

from __future__ import annotations

import re

import pytest
import torch
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.maps import StagedMap
from tests.examples import EVENT_IDS, EVENTS, CubicFlow, TwoTimeNetwork, normal


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_the_start_time_says_which_stage_is_called(event: tuple[int, ...]) -> None:
    later, first = LearnedMap(TwoTimeNetwork(event)), CubicFlow()
    s, x = torch.tensor([0.1, 0.5, 0.8, 0.4999]).double(), 0.3 * normal(4, *event)
    staged, u = StagedMap(later, first, 0.5), normal(4, *event, seed=1)
    for call in (
        lambda X: X(s, 0.9, x),
        lambda X: X.dt(s, 0.9, x),
        lambda X: X.jvp(s, 0.9, x, u),
        lambda X: X.average_velocity(s, 0.9, x),
        lambda X: X.velocity()(s, x),
    ):
        found, mine, other = call(staged), call(later), call(first)
        for i, stage in enumerate((mine, other, other, mine)):
            assert_close(found[i], stage[i])


@pytest.mark.parametrize("at", [-0.1, 1.5])
def test_the_transition_lies_between_base_and_data(at: float) -> None:
    sentence = f"`at` must lie in [0, 1], got {at}; pass the time at which the stages meet."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        StagedMap(CubicFlow(), CubicFlow(), at)

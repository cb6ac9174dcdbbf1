"""The field behind a contrastive minimizer, by its formula and where nothing is to be undone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.fields import VelocityField, uncontrasted
from flowops.interpolants import linear, trigonometric
from tests.examples import EVENT_IDS, EVENTS, Coupled, normal, over, uniform


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("lam", [0.0, 0.05, 0.7])
def test_the_bias_of_the_minimizer_is_undone(event: tuple[int, ...], lam: float) -> None:
    I, b, t, x = trigonometric(), Coupled(event), uniform(4), normal(4, *event)
    mean0, mean1 = normal(2, *event, seed=1)

    def minimizer(t: Tensor, x: Tensor) -> Tensor:
        mean = over(I.alpha_dot(t), x) * mean0 + over(I.beta_dot(t), x) * mean1
        return (b(t, x) - lam * mean) / (1 - lam)

    biased = VelocityField.from_function(minimizer)
    assert_close(uncontrasted(biased, I, mean0, mean1, lam)(t, x), b(t, x))
    assert torch.equal(biased(t, x), b(t, x)) == (lam == 0)


def test_its_means_are_buffers_that_move_with_it() -> None:
    b = uncontrasted(Coupled((3,)), linear(), torch.zeros(3).double(), torch.ones(3).double(), 0.1)
    assert {"mean0", "mean1"} <= set(b.state_dict())
    x = normal(2, 3, dtype=torch.float32)
    assert b.float()(0.5, x).dtype == torch.float32


@pytest.mark.parametrize("lam", [-0.1, 1.0, 2.0])
def test_a_weight_out_of_range_is_refused(lam: Any) -> None:
    with pytest.raises(ValueError, match=r"`lam` must lie in \[0, 1\), got"):
        uncontrasted(Coupled((3,)), linear(), torch.zeros(3), torch.ones(3), lam)

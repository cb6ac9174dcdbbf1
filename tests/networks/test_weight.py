"""The learned weight of pairs of times."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowops.networks import LearnedWeight
from tests.examples import uniform


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_starts_at_zero_so_that_the_weighted_loss_is_the_plain_one(dtype: torch.dtype) -> None:
    weight = LearnedWeight(width=8).to(dtype)
    s, t = uniform(2, 5, dtype=dtype)
    w, loss = weight(s, t), uniform(5, seed=1, dtype=dtype)
    assert (w.shape, w.dtype) == ((5,), dtype)
    assert torch.equal(torch.exp(-w) * loss + w, loss)


def test_it_learns_the_logarithm_of_the_loss(generator: torch.Generator) -> None:
    # the minimum of exp(-w) L + w over w is log L; for L = exp(1 + s - 2 (t - s)) that is 1 + s - 2 (t - s)
    weight = LearnedWeight(width=32, generator=generator)
    optimizer = torch.optim.Adam(weight.parameters(), lr=1e-2)
    for _ in range(300):
        s, t = torch.rand(2, 256, generator=generator)
        w = weight(s, t)
        optimizer.zero_grad()
        (torch.exp(1 + s - 2 * (t - s) - w) + w).mean().backward()
        optimizer.step()
    s, t = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.9, 0.5, 0.4])
    assert_close(weight(s, t), 1 + s - 2 * (t - s), rtol=0, atol=0.15)


def test_the_first_parameters_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, other = (LearnedWeight(8, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one.hidden.weight, other.hidden.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_widths_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="`width` must be a whole number of at least 1, got 0"):
        LearnedWeight(0)
    with pytest.raises(ValueError, match="`harmonics` must be a whole number of at least 1, got -1"):
        LearnedWeight(harmonics=-1)

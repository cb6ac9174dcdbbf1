"""The learned weight of pairs of times."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowops.methods import LearnedPositional, get_method
from flowops.networks import LearnedWeight, PositionalWeight
from flowops.runs import TrainConfig
from flowops.runs.assembly import method_of
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


class TestPositional:
    def test_it_is_linear_in_the_features_of_both_times_which_count_alike(self) -> None:
        weight = PositionalWeight(8, generator=torch.Generator().manual_seed(0)).double()
        s, t = uniform(2, 5)
        assert_close(weight(s, t), weight(t, s))
        with torch.no_grad():
            half = weight(s, s) + weight(t, t)
        assert_close(2 * weight(s, t), half)  # not so of t - s in the place of t
        assert weight(s, t).dtype is s.dtype

    def test_its_length_is_held_however_large_a_step_is(self) -> None:
        weight = PositionalWeight(128, generator=torch.Generator().manual_seed(0))
        assert_close(weight.last.weight.square().mean().sqrt(), torch.tensor(1.0), rtol=1e-4, atol=0)
        with torch.no_grad():
            weight.last.weight.mul_(1000.0)
        weight.last.after_update()
        assert_close(weight.last.weight.square().mean().sqrt(), torch.tensor(1.0), rtol=1e-4, atol=0)
        s, t = torch.rand(2, 4096, generator=torch.Generator().manual_seed(1))
        assert 0.1 < float(weight(s, t).detach().abs().max()) < 128**0.5

    def test_it_is_written_as_text_and_trained_beside_the_map(self) -> None:
        config = TrainConfig("digits", options=("weight=LearnedPositional(16)",))
        held = method_of(config).options.weight
        assert isinstance(held, LearnedPositional)
        assert held.network.get_parameter("last.weight").shape == (1, 16)
        assert list(get_method("lsd", weight=held).parameters()) == list(held.parameters())

    def test_an_odd_number_of_features_is_refused(self) -> None:
        with pytest.raises(ValueError, match="`channels` must be even, a cosine and a sine of each frequency, got 7"):
            PositionalWeight(7)

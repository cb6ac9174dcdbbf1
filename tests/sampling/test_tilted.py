"""Sequential Monte Carlo from a tilted law: resampling, populations, Langevin moves, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap, interpolants, problems
from flowops.sampling import Langevin, Tilted, noise, tilt
from flowops.sampling.grids import uniform
from flowops.sampling.tilted import chosen, effective_size
from tests.examples import TwoTimeNetwork, normal

PROBLEM = problems.gaussian([1.0, -0.5], [[0.8, 0.3], [0.3, 0.5]], interpolants.linear())


def first(x: Tensor) -> Tensor:
    """A reward: the first coordinate."""
    return 2 * x.reshape(len(x), -1)[:, 0]


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tilted(n: int = 600, **options: Any) -> Tilted:
    return tilt(PROBLEM.X, first, normal(n, 2), uniform(5), generator=source(), **options)


def test_systematic_resampling_repeats_by_weight_within_populations() -> None:
    weights = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]]).double()
    for seed in range(20):
        rows = chosen(weights.log(), source(seed))
        assert rows.tolist() == [0, 0, 1, 2, 6, 6, 6, 6]
    counts = torch.zeros(5)
    uneven = torch.tensor([[0.1, 0.3, 0.05, 0.25, 0.3]]).double()
    for seed in range(4000):
        counts += torch.bincount(chosen(uneven.log(), source(seed)), minlength=5)
    assert_close(counts / 20000, uneven[0].float(), rtol=0, atol=0.01)


def test_effective_sizes() -> None:
    log_weights = torch.tensor([[0.0, 0.0, 0.0, 0.0], [5.0, -1e4, -1e4, -1e4], [3.0, 3.0, -1e4, -1e4]])
    assert_close(effective_size(log_weights), torch.tensor([4.0, 1.0, 2.0]))


def test_effective_sizes_and_resamplings_are_reported() -> None:
    always, never, some = (tilted(threshold=threshold, populations=3) for threshold in (1.0, 0.0, 0.7))
    assert always.effective.shape == always.resampled.shape == (5, 3)
    assert always.resampled[:-1].all()
    assert not never.resampled.any()
    assert (never.effective.diff(dim=0) < 0).all()
    assert torch.equal(some.resampled[:-1], some.effective[:-1] < 0.7)
    assert not always.resampled[-1].any()
    assert (always.effective[-1] > never.effective[-1]).all()


def test_one_particle_is_effective_in_full_and_not_resampled() -> None:
    alone = tilted(4, threshold=1.0, populations=4)
    assert (alone.effective == 1).all()
    assert not alone.resampled.any()


def test_populations_never_mix() -> None:
    drawn = tilt(PROBLEM.X, first, normal(40, 2), uniform(4), populations=4, threshold=1.0, generator=source())
    ends = PROBLEM.X(0.0, 1.0, normal(40, 2)).reshape(4, 10, 2)
    for own, possible in zip(drawn.x.reshape(4, 10, 2), ends, strict=True):
        assert torch.cdist(own, possible).min(1).values.max() < 1e-12


def test_a_chunk_holds_whole_populations() -> None:
    x0, seen = normal(600, 2), set[int]()

    def reward(x: Tensor) -> Tensor:
        seen.add(len(x))
        return first(x)

    drawn = tilt(PROBLEM.X, reward, x0, uniform(5), populations=6, generator=source(), chunk=250)
    assert seen == {200}
    alone = tilt(PROBLEM.X, first, x0[:200], uniform(5), populations=2, generator=source())
    assert_close(drawn.x[:200], alone.x)
    assert_close(drawn.log_weights[:2], alone.log_weights)
    assert drawn.effective.shape == drawn.resampled.shape == (5, 6)
    with pytest.raises(ValueError, match="`chunk` must be a whole number of at least 1, got 0"):
        tilt(PROBLEM.X, first, x0, uniform(5), chunk=0)


def test_the_same_generator_draws_the_same() -> None:
    moves = Langevin(PROBLEM.score, 0.2, 2, PROBLEM.log_prob)
    assert torch.equal(tilted(langevin=moves).x, tilted(langevin=moves).x)


@pytest.mark.parametrize("populations", [1, 20])
def test_estimates_of_a_gaussian_tilt(populations: int) -> None:
    r"""$e^{2x_1}$ moves the mean by $2\Sigma e_1$, and $Z=e^{2m_1+2\Sigma_{11}}$."""
    moves = Langevin(PROBLEM.score, 0.2, 2, PROBLEM.log_prob)
    drawn = tilted(4000, langevin=moves, populations=populations, threshold=0.8)
    mean, error = drawn.mean(drawn.x)
    assert_close(mean, torch.tensor([2.6, 0.1]).double(), rtol=0, atol=0.15)
    assert_close(
        drawn.log_normalizers.logsumexp(0).item() - torch.tensor(populations).log().item(), 3.6, rtol=0, atol=0.2
    )
    assert error.isnan().all() if populations == 1 else (error < 0.05).all()
    assert_close(drawn.draw(source(1)).mean(0), mean, rtol=0, atol=0.05)


def test_moves_alone_keep_a_law_that_they_may_refuse_to_leave() -> None:
    r"""Accepted or refused moves from exact draws of $\rho_1$ leave them exact; those with a large step do not."""
    x = PROBLEM.sample_data(80_000, generator=source(), dtype=torch.float64)
    kept = Langevin(PROBLEM.score, 0.3, 4, PROBLEM.log_prob)(0.999, x, lambda y: 0 * y[:, 0], source(1))
    biased = Langevin(PROBLEM.score, 0.3, 4)(0.999, x, lambda y: 0 * y[:, 0], source(1))
    exact = torch.tensor([[0.8, 0.3], [0.3, 0.5]]).double()  # at most 0.004 is a standard error
    assert_close(kept.T.cov(), exact, rtol=0, atol=0.015)
    assert (biased.T.cov() - exact).abs().max() > 0.08
    assert (kept == x).all(1).any()


def test_images_and_learned_maps() -> None:
    X = LearnedMap(TwoTimeNetwork((1, 4, 4))).float()
    drawn = tilt(X, first, noise(8, (1, 4, 4), seed=0), uniform(2), langevin=Langevin(lambda _, x: -x, 0.05))
    assert drawn.x.shape == (8, 1, 4, 4)
    assert drawn.x.dtype == torch.float32
    assert not drawn.x.requires_grad
    assert drawn.mean(drawn.x)[0].shape == (1, 4, 4)
    assert drawn.draw().shape == (8, 1, 4, 4)


def test_misfits_are_refused() -> None:
    x = normal(6, 2)
    with pytest.raises(ValueError, match="`populations` must divide the number of particles, 6, got 4"):
        tilt(PROBLEM.X, first, x, uniform(2), populations=4)
    with pytest.raises(ValueError, match="`x0` must hold at least one particle, got none"):
        tilt(PROBLEM.X, first, x[:0], uniform(2))
    with pytest.raises(ValueError, match=r"`threshold` must lie in \[0, 1\], got 2.0; it is a share of the particles"):
        tilt(PROBLEM.X, first, x, uniform(2), threshold=2.0)
    with pytest.raises(ValueError, match=r"`reward` must give one number per sample, \[6\], got shape \[6, 2\]"):
        tilt(PROBLEM.X, lambda y: y, x, uniform(2))
    with pytest.raises(ValueError, match=r"`score` must have the shape of `x`, \[6, 2\], got \[6, 1\]"):
        tilt(PROBLEM.X, first, x, uniform(2), langevin=Langevin(lambda _, y: -y[:, :1], 0.1))
    with pytest.raises(ValueError, match=r"`log_density` must give one number per sample, \[6\], got shape \[6, 1\]"):
        tilt(PROBLEM.X, first, x, uniform(2), langevin=Langevin(PROBLEM.score, 0.1, 1, lambda _, y: -y[:, :1]))
    with pytest.raises(ValueError, match=r"`values` must hold an entry per particle, \[600, ...\], got shape \[6, 2\]"):
        tilted().mean(x)
    with pytest.raises(ValueError, match="`step` must be positive, got 0"):
        Langevin(PROBLEM.score, 0.0)
    with pytest.raises(ValueError, match="`moves` must be a whole number of at least 1, got 0"):
        Langevin(PROBLEM.score, 0.1, 0)

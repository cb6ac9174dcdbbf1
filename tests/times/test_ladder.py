"""Ladders: rungs, their spacing and law, and iCT's curriculum, against hand-computed values and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from flowops.interpolants import edm, linear, noise_level, variance_exploding
from flowops.times import Doubling, Karras, Ladder, LogNoise, Pair, SquareRoot

RATE = 1e-6  # of a false alarm, at a fixed seed
N = 40_000


def draw(
    law: Ladder, n: int = N, dtype: torch.dtype = torch.float64, I: object = None, step: int | None = None
) -> Pair:
    interpolant = linear() if I is None else I
    return law(n, interpolant=interpolant, step=step, dtype=dtype, generator=torch.Generator().manual_seed(5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("curriculum", "step", "rungs"),
    [
        # K' = floor(400000 / (log2(128) + 1)) = 50000
        (Doubling(), 0, 11),
        (Doubling(), 49_999, 11),
        (Doubling(), 50_000, 21),
        (Doubling(), 149_999, 41),
        (Doubling(), 350_000, 1281),
        (Doubling(), 399_999, 1281),
        (Doubling(), 10**9, 1281),
        (Doubling(), None, 1281),
        # K' = floor(400000 / (log2(64) + 1)) = 57142
        (Doubling(20), 57_141, 21),
        (Doubling(20), 57_142, 41),
        # K' = floor(100 / (log2(floor(3/2)) + 1)) = 100
        (Doubling(2, 3, steps=100), 99, 3),
        (Doubling(2, 3, steps=100), 100, 4),
        # K' = floor(100 / (log2(floor(50/10)) + 1)) = floor(30.1)
        (Doubling(10, 50, steps=100), 29, 11),
        (Doubling(10, 50, steps=100), 30, 21),
        (Doubling(10, 50, steps=100), 60, 41),
        (Doubling(10, 50, steps=100), 90, 51),
        (Doubling(1, 1024, steps=3), 4, 17),  # fewer training steps than doublings: one per step
    ],
)
def test_the_number_of_rungs_doubles(curriculum: Doubling, step: int | None, rungs: int) -> None:
    assert curriculum(step) == rungs


def test_the_square_of_the_number_of_rungs_grows_linearly() -> None:
    curriculum = SquareRoot(2, 150, steps=800_000)
    assert [curriculum(step) for step in (0, 800_000, 10**9, None)] == [2, 151, 151, 151]
    for step in range(1, 800_000, 1777):
        square = step / 800_000 * (151**2 - 2**2) + 2**2
        assert curriculum(step) == math.ceil(math.sqrt(square) - 1) + 1
    assert SquareRoot(3, 3, steps=10)(0) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_rungs_in_time(dtype: torch.dtype) -> None:
    s, t = draw(Ladder(6), dtype=dtype)
    starts, counts = s.unique(return_counts=True)
    torch.testing.assert_close(starts, torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8], dtype=dtype))
    torch.testing.assert_close(t, s + 0.2)
    assert t.max() == 1
    assert set(t.tolist()) - {1.0} == set(s.tolist()) - {0.0}  # adjacent rungs are the same numbers
    assert stats.chisquare(counts.numpy()).pvalue > RATE


def test_two_rungs_are_the_whole_interval() -> None:
    s, t = draw(Ladder(2, Karras()), n=3)
    assert s.tolist() == [0, 0, 0]
    assert t.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_karras_rungs_are_uniform_in_the_clock_of_edm(dtype: torch.dtype) -> None:
    s, t = draw(Ladder(18, Karras()), dtype=dtype, I=edm())
    tolerance = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(s.unique(), torch.arange(17, dtype=dtype) / 17, rtol=0, atol=tolerance)
    torch.testing.assert_close(t - s, torch.full_like(s, 1 / 17), rtol=0, atol=tolerance)


def test_karras_rungs_on_another_interpolant_keep_their_noise_levels_between_the_ends() -> None:
    s, _ = draw(Ladder(5, Karras(rho=1.0, sigma_min=1.0, sigma_max=5.0)))
    starts = s.unique()
    torch.testing.assert_close(noise_level(linear(), starts[1:]), torch.tensor([4.0, 3.0, 2.0], dtype=torch.float64))
    assert starts[0] == 0
    assert draw(Ladder(5, Karras(rho=1.0, sigma_min=1.0, sigma_max=5.0))).t.max() == 1


def test_the_finest_ladder_of_ict_is_resolved_in_float32() -> None:
    s, t = draw(Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0)), dtype=torch.float32)
    assert (s < t).all()
    exact = draw(Ladder(Doubling(), Karras()), dtype=torch.float64, n=500_000).s.unique()
    assert len(exact) == 1280
    coarse = draw(Ladder(Doubling(), Karras()), dtype=torch.float32, n=500_000).s.unique()
    torch.testing.assert_close(coarse.double(), exact, rtol=0, atol=2e-6)


def test_the_rung_law_of_ict_is_the_mass_of_a_normal_between_noise_levels() -> None:
    rungs = 11
    s, _ = draw(Ladder(rungs, Karras(), LogNoise(-1.1, 2.0)), I=edm())
    counts = np.bincount((s * (rungs - 1)).round().int().numpy(), minlength=rungs - 1)
    sigma = (80 ** (1 / 7) + np.arange(rungs) / (rungs - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    mass = -np.diff(stats.norm(-1.1, 2.0).cdf(np.log(sigma)))
    assert stats.chisquare(counts, N * mass / mass.sum()).pvalue > RATE


def test_the_rung_law_on_uniform_rungs_reaches_infinite_noise() -> None:
    s, _ = draw(Ladder(9, law=LogNoise(0.5, 1.5)))
    counts = np.bincount((s * 8).round().int().numpy(), minlength=8)
    t = np.arange(9) / 8
    with np.errstate(divide="ignore"):
        mass = -np.diff(stats.norm(0.5, 1.5).cdf(np.log((1 - t) / t)))
    assert mass.sum() == pytest.approx(1.0)
    assert stats.chisquare(counts, N * mass).pvalue > RATE


def test_a_curriculum_is_any_callable() -> None:
    law = Ladder(lambda step: 3 if step is None else 2)
    assert draw(law).s.unique().tolist() == [0.0, 0.5]
    assert draw(law, step=4).s.unique().tolist() == [0.0]
    with pytest.raises(ValueError, match="`rungs` must be a whole number of at least 2, got 1"):
        draw(Ladder(lambda _: 1))


def test_rungs_that_the_interpolant_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(
        ValueError, match="`spacing` must place its rungs at different times, got Karras.* with 18 rungs"
    ):
        draw(Ladder(18, Karras()), I=variance_exploding(0.1, 10.0))

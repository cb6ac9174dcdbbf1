"""The laws by exact statistics. Each test of a law has a false-alarm rate of one in a million, at a fixed seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowops.interpolants import Interpolant, edm, linear, trigonometric, variance_preserving
from flowops.times import (
    Annealed,
    DataRatio,
    Diagonal,
    EndpointFixed,
    FullSquare,
    LogitNormal,
    LogNoise,
    Step,
    Uniform,
    UpperTriangle,
)

N = 20_000
RATE = 1e-6


def draw(law: Any, n: int = N, **options: Any) -> Any:
    return law(n, generator=torch.Generator().manual_seed(7), dtype=torch.float64, **options)


def assert_law(sample: Tensor, law: Any) -> None:
    """Kolmogorov-Smirnov."""
    assert stats.kstest(sample.numpy(), law.cdf).pvalue > RATE


def test_uniform() -> None:
    assert_law(draw(Uniform()), stats.uniform())
    assert_law(draw(Uniform(0.25, 0.75)), stats.uniform(0.25, 0.5))


def test_the_statistics_see_a_wrong_law() -> None:
    t = draw(Uniform()).numpy()
    assert stats.kstest(t, stats.uniform(0.0, 1.1).cdf).pvalue < RATE
    assert stats.kstest(t, stats.beta(1.1, 1.0).cdf).pvalue < RATE


def test_logit_normal() -> None:
    t = draw(LogitNormal(-0.4, 1.3))
    assert_law((t / (1 - t)).log(), stats.norm(-0.4, 1.3))


@pytest.mark.parametrize("I", [linear(), trigonometric(), variance_preserving()], ids=lambda I: I.name)
def test_log_noise_is_normal_in_the_log_of_the_noise_level(I: Interpolant) -> None:
    t = draw(LogNoise(-1.1, 1.2), interpolant=I)
    assert_law((I.alpha(t) / I.beta(t)).log(), stats.norm(-1.1, 1.2))


def test_log_noise_of_the_linear_interpolant_is_logit_normal() -> None:
    t = draw(LogNoise(0.4, 1.0), interpolant=linear())
    torch.testing.assert_close(1 - t, draw(LogitNormal(0.4, 1.0)))


def test_log_noise_beyond_the_schedule_falls_on_its_ends() -> None:
    t = draw(LogNoise(0.0, 1.0), interpolant=edm(0.5, 2.0))
    outside = stats.norm.cdf(-np.log(2))
    for end in (0.0, 1.0):
        count = int((t == end).sum())
        assert stats.binomtest(count, N, outside).pvalue > RATE


def test_the_upper_triangle_is_uniform() -> None:
    s, t = draw(UpperTriangle())
    assert_law(s, stats.beta(1, 2))
    assert_law(t, stats.beta(2, 1))
    for half in (t < 0.7, t >= 0.7):  # given t, s is uniform below it
        assert_law((s / t)[half], stats.uniform())


def test_the_upper_triangle_of_a_law_holds_its_order_statistics() -> None:
    s, t = draw(UpperTriangle(LogitNormal(0.4, 1.0)))
    low, high = (s / (1 - s)).log(), (t / (1 - t)).log()
    normal = stats.norm(0.4, 1.0)
    assert stats.kstest(low.numpy(), lambda z: 1 - normal.sf(z) ** 2).pvalue > RATE
    assert stats.kstest(high.numpy(), lambda z: normal.cdf(z) ** 2).pvalue > RATE


def test_the_full_square_is_uniform_in_both_orders() -> None:
    s, t = draw(FullSquare())
    assert_law(s, stats.uniform())
    assert_law(t[s < t], stats.beta(2, 1))
    assert_law(t[s > t], stats.beta(1, 2))
    assert stats.binomtest(int((s < t).sum()), N, 0.5).pvalue > RATE


def test_the_diagonal_has_equal_times() -> None:
    s, t = draw(Diagonal(LogitNormal()))
    assert torch.equal(s, t)
    assert_law((s / (1 - s)).log(), stats.norm())


def test_endpoints_are_fixed() -> None:
    s, t = draw(EndpointFixed(end=0.5))
    assert (t == 0.5).all()
    assert_law(s, stats.uniform())


def test_a_step_is_a_fraction_of_what_is_left() -> None:
    s, t = draw(Step(epsilon=0.25))
    torch.testing.assert_close((t - s) / (1 - s), torch.full_like(s, 0.25))
    assert torch.equal(draw(Step(epsilon=1.0)).t, torch.ones_like(s))
    assert_law(s, stats.uniform())


@pytest.mark.parametrize(
    ("ratio", "n", "count"),
    [(0.25, 100, 25), (0.25, 10, 2), (0.25, 1, 0), (0.75, 1, 1), (0.5, 3, 2), (0.0, 50, 0), (1.0, 50, 50), (0.3, 7, 2)],
)
def test_exactly_the_fraction_is_off_the_diagonal(ratio: float, n: int, count: int) -> None:
    s, t = draw(DataRatio(UpperTriangle(), ratio), n)
    assert int((s != t).sum()) == count
    before = draw(UpperTriangle(), n)
    assert torch.equal(s, before.s)
    assert torch.equal(t, torch.where(s != t, before.t, before.s))


def test_every_row_is_as_likely_to_be_off_the_diagonal() -> None:
    generator = torch.Generator().manual_seed(3)
    law = DataRatio(UpperTriangle(), 0.3)
    counts = sum((p.s != p.t).int() for p in (law(10, generator=generator) for _ in range(2000)))
    assert isinstance(counts, Tensor)
    # counts of rows are correlated through their sum, which only makes chi-square smaller
    for count in counts.tolist():
        assert stats.binomtest(count, 2000, 0.3).pvalue > RATE / 10


@pytest.mark.parametrize(("step", "delta"), [(0, 0.2), (25, 0.4), (50, 0.6), (100, 1.0), (500, 1.0), (None, 1.0)])
def test_annealing_shrinks_each_interval_by_a_fraction_that_grows_linearly(step: int | None, delta: float) -> None:
    law = Annealed(FullSquare(), start=0.2, steps=100)
    assert law.delta(step) == pytest.approx(delta, rel=1e-15)
    (s, t), (S, T) = draw(law, step=step), draw(FullSquare())
    torch.testing.assert_close(t - s, delta * (T - S))
    assert ((t - s).abs() <= delta).all()
    if delta == 1:
        assert torch.equal(s, S)
        assert torch.equal(t, T)
    else:
        assert_law(((s - S) / ((1 - delta) * (T - S))), stats.uniform())


def test_annealing_from_zero_starts_on_the_diagonal() -> None:
    s, t = draw(Annealed(UpperTriangle(), start=0.0, steps=10), step=0)
    torch.testing.assert_close(s, t, rtol=0, atol=1e-15)

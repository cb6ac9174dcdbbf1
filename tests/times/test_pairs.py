"""Laws of pairs by exact statistics, at a false-alarm rate of one in a million each, and what becomes of a pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from flowops.times import (
    Annealed,
    DataRatio,
    Diagonal,
    EndpointFixed,
    FullSquare,
    Intervals,
    LogitNormal,
    StartEnd,
    Step,
    UpperTriangle,
    Widening,
    ahead,
    as_drawn,
    behind,
    on_diagonal,
    to_end,
)

N = 20_000
RATE = 1e-6


def draw(law: Any, n: int = N, **options: Any) -> Any:
    return law(n, generator=torch.Generator().manual_seed(7), dtype=torch.float64, **options)


def assert_law(sample: Tensor, law: Any) -> None:
    """Kolmogorov-Smirnov."""
    assert stats.kstest(sample.numpy(), law.cdf).pvalue > RATE


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


def test_intervals_have_the_law_of_their_length_and_start_anywhere() -> None:
    s, t = draw(Intervals(LogitNormal(-0.8, 1.0)))
    length = t - s
    assert_law((length / (1 - length)).log(), stats.norm(-0.8, 1.0))
    for half in (length < 0.3, length >= 0.3):
        assert_law((s / (1 - length))[half], stats.uniform())


def test_the_longest_interval_doubles_from_round_to_round() -> None:
    law = Widening(FullSquare(), start=1 / 8, round_length=10)
    assert [law.longest(step) for step in (0, 9, 10, 20, 30, 10**9, None)] == [1 / 8, 1 / 8, 1 / 4, 1 / 2, 1, 1, 1]
    free = draw(FullSquare())
    for step in (0, 10, 30):
        s, t = draw(law, step=step)
        assert torch.equal(s, free.s)
        wanted = (free.t - free.s).clamp(-law.longest(step), law.longest(step))
        torch.testing.assert_close(t - s, wanted)


def test_the_full_square_is_uniform_in_both_orders() -> None:
    s, t = draw(FullSquare())
    assert_law(s, stats.uniform())
    assert_law(t[s < t], stats.beta(2, 1))
    assert_law(t[s > t], stats.beta(1, 2))
    assert stats.binomtest(int((s < t).sum()), N, 0.5).pvalue > RATE


def test_an_end_that_comes_before_its_start_is_moved_onto_it() -> None:
    s, t = draw(StartEnd(LogitNormal(0.6, 1.6), LogitNormal(4.0, 1.6)))
    assert_law((s / (1 - s)).log(), stats.norm(0.6, 1.6))
    assert (s <= t).all()
    share = stats.norm.cdf((0.6 - 4.0) / (1.6 * 2**0.5))  # of ends that come before
    assert stats.binomtest(int((s == t).sum()), N, share).pvalue > RATE
    assert_law(draw(StartEnd(end=LogitNormal(40.0, 1.0))).s, stats.uniform())


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
def test_annealing_moves_ends_to_a_distance_that_grows_linearly(step: int | None, delta: float) -> None:
    law = Annealed(FullSquare(), start=0.2, steps=100)
    assert law.delta(step) == pytest.approx(delta, rel=1e-15)
    (s, t), (S, T) = draw(law, step=step), draw(FullSquare())
    assert torch.equal(s, S)
    far = (T - S).abs() > delta
    assert torch.equal(t[~far], T[~far])
    torch.testing.assert_close((t - s)[far], delta * (T - S)[far].sign(), rtol=0, atol=1e-15)
    assert far.any() == (delta < 1)


def test_annealing_waits_on_the_diagonal() -> None:
    law = Annealed(UpperTriangle(), start=0.0, steps=10, after=7)
    assert [law.delta(step) for step in (0, 7, 8, 12, 17, 99, None)] == [0.0, 0.0, 0.1, 0.5, 1.0, 1.0, 1.0]
    for step in (0, 7):
        s, t = draw(law, step=step)
        assert torch.equal(s, t)


class TestMiddles:
    """The times $(s, u, t)$ at which a residual is evaluated, made of a pair in either order."""

    PAIR = draw(FullSquare(), 50)
    FRACTIONS: list[Any] = [0.0, 0.25, 1.0, torch.linspace(0, 1, 50, dtype=torch.float64)]

    @pytest.mark.parametrize("fraction", FRACTIONS, ids=["0", "1/4", "1", "each"])
    def test_the_middle_divides_the_pair(self, fraction: Any) -> None:
        s, t = self.PAIR
        (a, u, b), (c, w, e) = ahead(s, t, fraction), behind(s, t, fraction)
        assert u is not None
        assert w is not None
        for time, expected in ((a, s), (b, t), (c, s), (e, t)):
            assert torch.equal(time, expected)
        torch.testing.assert_close(u - s, fraction * (t - s))
        torch.testing.assert_close(t - w, fraction * (t - s))
        torch.testing.assert_close(u + w, s + t)
        for middle in (u, w):
            assert ((middle - s) * (t - middle) >= 0).all()

    def test_the_ends_are_met_exactly(self) -> None:
        s, t = self.PAIR
        for middle, fraction, end in ((ahead, 0.0, s), (ahead, 1.0, t), (behind, 0.0, t), (behind, 1.0, s)):
            assert torch.equal(middle(s, t, fraction)[1], end)  # type: ignore[arg-type]

    def test_the_others_ask_for_no_fraction(self) -> None:
        s, t = self.PAIR
        for fraction in self.FRACTIONS:
            assert as_drawn(s, t, fraction) == (s, None, t)
            assert on_diagonal(s, t, fraction) == (s, None, s)
            start, u, end = to_end(s, t, fraction)
            assert (start, u) == (s, t)
            assert torch.equal(end, torch.ones_like(s))

    @pytest.mark.parametrize("middle", [as_drawn, on_diagonal, to_end, ahead, behind])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_shape_and_dtype_are_those_of_the_pair(self, middle: Any, dtype: torch.dtype) -> None:
        s, t = UpperTriangle()(7, dtype=dtype)
        for time in middle(s, t, 0.1):
            assert time is None or (time.shape, time.dtype) == ((7,), dtype)

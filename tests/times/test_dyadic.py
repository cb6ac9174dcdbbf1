"""Dyadic pairs: exact binary times, every step of a level as likely, and rounds that halve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from flowops import problems, residuals
from flowops.interpolants import linear
from flowops.maps import FlowMap
from flowops.methods import get_method
from flowops.times import Dyadic, Grid, Halving, InsideSteps, TimeLaw, UpperTriangle

RATE = 1e-6  # of a false alarm, at a fixed seed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 7, 24])
def test_times_are_exact_multiples_of_the_step(levels: int, dtype: torch.dtype) -> None:
    s, t = Dyadic(levels)(10_000, dtype=dtype, generator=torch.Generator().manual_seed(0))
    width = t - s
    j = -width.log2().round()
    assert torch.equal(width, 2.0**-j)
    assert sorted(set(j.int().tolist())) == list(range(levels))
    assert torch.equal((s / width).round(), s / width)
    assert (t <= 1).all()


def test_every_start_of_a_grid_is_equally_likely() -> None:
    t = Grid(16)(50_000, generator=torch.Generator().manual_seed(1))
    places, counts = t.unique(return_counts=True)
    assert torch.equal(places, torch.arange(16) / 16)
    assert stats.chisquare(counts.numpy()).pvalue > RATE


def test_levels_and_the_steps_of_a_level_are_equally_likely() -> None:
    n, levels = 50_000, 5
    s, t = Dyadic(levels)(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    steps = (1 / (t - s)).round().int()
    cell = steps - 1 + (s * steps).round().int()  # 1 + 2 + ... + 2^{j-1} = 2^j - 1 cells before level j
    counts = np.bincount(cell.numpy(), minlength=2**levels - 1)
    expected = np.concatenate([np.full(2**j, n / (levels * 2**j)) for j in range(levels)])
    assert stats.chisquare(counts, expected).pvalue > RATE


@pytest.mark.parametrize(
    ("step", "steps"),
    [(0, 8), (9, 8), (10, 4), (19, 4), (20, 2), (30, 1), (39, 1), (40, 1), (10_000, 1), (None, 1)],
)
def test_rounds_halve_the_number_of_steps(step: int | None, steps: int) -> None:
    s, t = Halving(levels=4, round_length=10)(4000, step=step, generator=torch.Generator().manual_seed(2))
    assert torch.equal(t - s, torch.full_like(s, 1 / steps))
    starts, counts = s.unique(return_counts=True)
    assert starts.tolist() == [k / steps for k in range(steps)]
    assert steps == 1 or stats.chisquare(counts.numpy()).pvalue > RATE


def test_a_round_may_be_one_training_step() -> None:
    assert [Halving(levels=3, round_length=1).level(step) for step in range(5)] == [2, 1, 0, 0, 0]


def test_the_last_round_is_one_step() -> None:
    s, t = Halving(levels=7, round_length=1000)(5)
    assert s.tolist() == [0.0] * 5
    assert t.tolist() == [1.0] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 4, 24])
def test_ends_lie_uniformly_inside_the_steps(levels: int, dtype: torch.dtype) -> None:
    def source() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    s, t = InsideSteps(levels)(20_000, dtype=dtype, generator=source())
    starts, ends = Dyadic(levels)(20_000, dtype=dtype, generator=source())
    assert torch.equal(s, starts)
    assert ((s <= t) & (t <= ends)).all()
    inside = ((t - s) / (ends - s))[ends - s > 2.0**-6]  # below, float32 has few numbers in a step
    assert stats.kstest(inside.numpy(), "uniform").pvalue > RATE


class RightAtStarts(FlowMap):
    r"""$X_{s,t}(x)+(t-s)^2\sin^2(4\pi s)$: a flow map at the starts of 1, 2 and 4 steps, and at no others."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.X(s, t, x) + ((t - s) ** 2 * (4 * torch.pi * s).sin() ** 2)[:, None]


@pytest.mark.parametrize(
    ("row", "law", "seen"),
    [
        ("lsd", InsideSteps(3), False),
        ("lsd", InsideSteps(4), True),  # the starts of eight steps
        ("lsd", UpperTriangle(), True),
        ("psd-m", InsideSteps(3), True),  # the second half of a step starts inside it
    ],
)
def test_a_lagrangian_row_holds_the_starts_apart_and_the_semigroup_does_not(row: str, law: TimeLaw, seen: bool) -> None:
    I = linear()
    problem = problems.gaussian([1.0, -0.5], [[0.3, 0.1], [0.1, 0.6]], I)
    X, source = RightAtStarts(problem.X), torch.Generator().manual_seed(4)
    x0, x1 = torch.randn(2, 256, 2, generator=source, dtype=torch.float64)
    result = get_method(row, eta=0.5, law=law)(X, I, x0, x1, seed=5)
    (_, off), size = result.terms.items(), residuals.lagrangian(X, problem.b, 0.125, 0.5, x0).square().sum(1).mean()
    assert size > 1e-3
    assert (off[1] > 1e-4) if seen else (off[1] < 1e-20)

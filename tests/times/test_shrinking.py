"""Easy consistency tuning's pairs, against values computed by hand and the limits of its formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from flowops.interpolants import Interpolant, edm, linear, noise_level, trigonometric
from flowops.times import LogNoise, OneTime, Request, Shrinking, Uniform


@dataclass(frozen=True)
class Fixed(OneTime):
    """Every draw the same time."""

    time: float

    def draw(self, request: Request) -> Tensor:
        return torch.full((request.n,), self.time, dtype=request.dtype)


@pytest.mark.parametrize(
    ("step", "end"),
    [
        # sigma = 1, n = 1 + 8 / (1 + e) = 3.1515314; the ratio is 1 - n / 2^a, negative in the first stage
        (0, 1.0),
        (9, 1.0),
        (10, 1 / (1 + 1 - 3.151531370959961 / 4)),
        (25, 1 / (1 + 1 - 3.151531370959961 / 8)),
        (30, 1 / (1 + 1 - 3.151531370959961 / 16)),
        (99, 1 / (1 + 1 - 3.151531370959961 / 16)),
        (None, 1 / (1 + 1 - 3.151531370959961 / 16)),
    ],
)
def test_ends_by_hand(step: int | None, end: float) -> None:
    law = Shrinking(Fixed(0.5), steps_per_stage=10, stages=4)
    s, t = law(2, interpolant=linear(), step=step, dtype=torch.float64)
    assert s.tolist() == [0.5, 0.5]
    assert t.tolist() == pytest.approx([end, end], rel=1e-14)


def test_the_first_stage_meets_the_data_where_noise_is_low_only() -> None:
    law = Shrinking(Uniform(0.05, 0.95))
    s, t = law(2000, interpolant=linear(), step=0, dtype=torch.float64)
    # n(sigma) >= 2 up to sigma = log 7
    assert torch.equal(t == 1, noise_level(linear(), s) <= math.log(7))
    assert (t[s < 0.1] < 1).all()


@pytest.mark.parametrize("I", [linear(), trigonometric(), edm()], ids=lambda I: I.name)
def test_at_high_noise_the_noise_level_shrinks_by_a_power_of_q(I: Interpolant) -> None:
    law = Shrinking(LogNoise(3.8, 0.05), q=4.0, steps_per_stage=1)
    for step in range(3):
        s, t = law(100, interpolant=I, step=step, dtype=torch.float64)
        ratio = noise_level(I, t) / noise_level(I, s)
        torch.testing.assert_close(ratio, torch.full_like(ratio, 1 - 4.0 ** -(step + 1)), rtol=1e-12, atol=0)


def test_the_constant_mapping_is_k_zero() -> None:
    law = Shrinking(Uniform(0.1, 0.9), k=0.0, q=2.0, steps_per_stage=1)
    s, t = law(100, interpolant=linear(), step=0, dtype=torch.float64)
    torch.testing.assert_close((1 - t) / t, (1 - s) / s / 2)


def test_a_level_below_the_last_of_the_schedule_is_at_the_data() -> None:
    s, t = Shrinking(Fixed(0.99), stages=3)(1, interpolant=edm(), dtype=torch.float64)
    assert s < t
    assert t == 1


def test_each_stage_is_closer() -> None:
    law = Shrinking(LogNoise(-1.1, 2.0), steps_per_stage=1, stages=8)
    generator = torch.Generator()
    gaps = []
    for step in range(8):
        s, t = law(500, interpolant=linear(), step=step, generator=generator.manual_seed(0), dtype=torch.float64)
        gaps.append(t - s)
    for wide, narrow in zip(gaps[:-1], gaps[1:], strict=True):
        assert (narrow <= wide).all()
    # nine over 2^8 of the noise level at most, and a noise level moves a time by a quarter of itself at most
    assert gaps[-1].max() < 5 / 2**8 / 4 * 1.1

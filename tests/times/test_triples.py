"""Laws of three times: rungs with a step for each between, and a constant step in noise level, by their statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowops.interpolants import linear, noise_level, trigonometric
from flowops.methods import METHODS, get_method
from flowops.times import Decrement, Geometric, Karras, Leap, Leaps, Request, ThreeTimes, Uniform
from tests.methods.rows import batch, call, learned, teacher_for

RATE = 1e-6  # of a false alarm, at a fixed seed
N = 40_000


def draw(law: ThreeTimes, n: int = N) -> Leap:
    generator = torch.Generator().manual_seed(5)
    return law.triple(Request(n, linear(), None, generator, torch.float64, torch.device("cpu")))


def rungs(spacing: Karras | Geometric, count: int) -> Tensor:
    """The times of the rungs under the linear interpolant, where the noise level is (1-t)/t."""
    times = 1 / (1 + spacing.levels(count, torch.float64, torch.device("cpu")))
    times[0], times[-1] = 0.0, 1.0
    return times


def counts(law: Leaps) -> tuple[Tensor, ...]:
    """Which rungs the three times are."""
    drawn, times = draw(law), rungs(law.spacing, law.rungs)
    assert drawn.u is not None
    three = (drawn.s, drawn.u, drawn.t)
    found = [torch.searchsorted(times, t - 1e-9) for t in three]
    for index, t in zip(found, three, strict=True):
        torch.testing.assert_close(times[index], t, rtol=0, atol=1e-9)
    return tuple(found)


def test_the_number_of_steps_has_a_chance_in_proportion_to_it_and_what_is_left_is_uniform() -> None:
    i, j, k = counts(Leaps(6))
    h = j - i
    assert ((h >= 1) & (k >= j) & (k <= 5)).all()
    seen = np.bincount(h.numpy(), minlength=6)[1:]
    assert stats.chisquare(seen, N * np.arange(1, 6) / 15).pvalue > RATE
    starts = np.bincount(i[h == 2].numpy(), minlength=4)
    assert stats.chisquare(starts).pvalue > RATE
    ends = np.bincount(k[(h == 2) & (i == 1)].numpy(), minlength=6)[3:]
    assert stats.chisquare(ends).pvalue > RATE


def test_the_path_runs_from_the_start_over_every_rung_to_the_time_between() -> None:
    law = Leaps(5)
    s, u, _, path = draw(law, 50)
    assert u is not None
    assert path is not None
    assert path.shape == (50, 5)
    assert torch.equal(path[:, 0], s)
    assert torch.equal(path[:, -1], u)
    times = rungs(law.spacing, 5)
    for start, end, steps in zip(s, u, path, strict=True):
        between = times[(times >= start - 1e-9) & (times <= end + 1e-9)]
        torch.testing.assert_close(steps.unique(), between, rtol=0, atol=1e-9)


def test_the_noise_level_is_lower_by_a_constant_up_to_the_end() -> None:
    law = Decrement(Uniform(0.1, 0.9), step=0.2, last=0.95)
    s, u, t, path = draw(law)
    assert u is not None
    assert path is None
    assert ((s <= u) & (u <= t) & (t <= 0.95)).all()
    fallen = noise_level(linear(), s) - noise_level(linear(), u)
    inside = u < t
    torch.testing.assert_close(fallen[inside], torch.full_like(fallen[inside], 0.2))
    assert (fallen[~inside] <= 0.2 + 1e-9).all()
    assert stats.kstest(((t - s) / (0.95 - s)).numpy(), "uniform").pvalue > RATE
    assert Decrement().step * 2**15 == 160


def test_a_row_with_a_time_ahead_takes_that_of_the_law_and_the_steps_to_it() -> None:
    method, b = get_method("ctm", eta=0.0, law=Leaps(4)), teacher_for(METHODS["discrete-emd"])
    (drawn,) = [k for k in method.draw(learned(), linear(), *batch(6), seed=3).terms if k is not None]
    assert drawn.u is not None
    assert drawn.path is not None
    assert torch.equal(drawn.path[:, -1], drawn.u)
    whole = method.draw(learned(), linear(), *batch(6), seed=3)
    part = whole.part(1, 2).terms[-1]
    assert part is not None
    assert part.path is not None
    assert torch.equal(part.path, drawn.path[1::2])
    many, one = (call(get_method("ctm", eta=0.0, law=law), teacher=b).loss for law in (Leaps(4), Leaps(2)))
    assert many != one


@pytest.mark.parametrize("law", [Leaps(4), Decrement(step=0.2)])
def test_a_step_that_is_a_fraction_of_the_way_stays_one(law: ThreeTimes) -> None:
    method = get_method("alpha-flow", alpha=0.25, eta=0.0, law=law)
    (drawn,) = [k for k in method.draw(learned(), linear(), *batch(6), seed=3).terms if k is not None]
    assert drawn.u is not None
    torch.testing.assert_close(drawn.u, torch.lerp(drawn.s, drawn.t, 0.25))


@pytest.mark.parametrize("name", ["lsd", "ct", "psd-u", "fm", "meanflow", "imm"])
def test_every_row_takes_what_it_wants_of_such_a_law(name: str) -> None:
    for law in (Leaps(4), Decrement()):
        result = call(get_method(name, law=law), interpolant=trigonometric())
        assert result.loss.isfinite()

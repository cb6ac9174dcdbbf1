"""What all laws share, from arguments to the end of every curriculum, and the laws of one time by exact statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowops import times
from flowops.interpolants import (
    Interpolant,
    cosine,
    edm,
    encoding_decoding,
    linear,
    trigonometric,
    variance_preserving,
)
from flowops.times import (
    Annealed,
    DataRatio,
    Decrement,
    Diagonal,
    Doubling,
    Dyadic,
    EndpointFixed,
    FullSquare,
    Geometric,
    Grid,
    Halving,
    InsideSteps,
    Intervals,
    Karras,
    Ladder,
    Leaps,
    LogitNormal,
    LogNoise,
    OneTime,
    Pair,
    Request,
    Shrinking,
    SquareRoot,
    StartEnd,
    Step,
    TimeLaw,
    Trajectory,
    Uniform,
    UniformAngle,
    UpperTriangle,
    Widening,
)

ONE_TIME: list[OneTime] = [
    Uniform(),
    Uniform(0.2, 0.4),
    LogitNormal(-0.4, 1.0),
    LogNoise(-1.1, 2.0),
    UniformAngle(),
    Grid(),
]
FORWARD: list[TimeLaw] = [
    UpperTriangle(),
    UpperTriangle(LogitNormal(0.4, 1.0)),
    Diagonal(),
    EndpointFixed(),
    Step(),
    DataRatio(),
    Annealed(UpperTriangle(), start=0.1, steps=100),
    Dyadic(),
    InsideSteps(),
    Halving(levels=7, round_length=10),
    Ladder(),
    Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0)),
    Shrinking(),
    Intervals(),
    Widening(),
    Ladder(SquareRoot(), Karras()),
    Leaps(),
    Decrement(),
    Trajectory(),
    Ladder(12, Geometric()),
    StartEnd(LogitNormal(0.6, 1.6), LogitNormal(4.0, 1.6)),
]
PAIRS: list[TimeLaw] = [FullSquare(), *FORWARD]
GROWING = ("Annealed", "Halving", "Shrinking", "Widening", "Doubling", "SquareRoot")
STATIC = [law for law in PAIRS if not any(name in repr(law) for name in GROWING)]
CURRICULA: list[tuple[TimeLaw, int]] = [
    (Annealed(FullSquare(), start=0.1, steps=3), 3),
    (Halving(levels=7, round_length=10), 60),
    (Ladder(Doubling(10, 80, steps=100)), 75),
    (Shrinking(steps_per_stage=10, stages=3), 20),
    (Widening(start=0.25, round_length=10), 20),
    (Ladder(SquareRoot(2, 40, steps=3)), 3),
    (DataRatio(Annealed(UpperTriangle(), start=0.1, steps=3), 0.5), 3),
]
# What a parameter must not be.
PAIR_LAW: Any = UpperTriangle()
SINGLE_LAW: Any = Uniform()
WORD: Any = "karras"


def draw(law: Any, n: int = 64, seed: int = 0, **options: Any) -> Any:
    return law(n, interpolant=linear(), generator=torch.Generator().manual_seed(seed), **options)


def tensors(drawn: Tensor | Pair) -> tuple[Tensor, ...]:
    return (drawn,) if isinstance(drawn, Tensor) else tuple(drawn)


@pytest.mark.parametrize("law", [*ONE_TIME, *PAIRS], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [None, 0, 35])
def test_draws_are_times_in_the_unit_interval(law: Any, dtype: torch.dtype, step: int | None) -> None:
    for n in (1, 257):
        for t in tensors(draw(law, n, dtype=dtype, step=step)):
            assert t.shape == (n,)
            assert t.dtype == dtype
            assert ((t >= 0) & (t <= 1)).all()


@pytest.mark.parametrize("law", FORWARD, ids=repr)
@pytest.mark.parametrize("step", [None, 0, 35])
def test_forward_laws_have_their_start_before_their_end(law: TimeLaw, step: int | None) -> None:
    s, t = draw(law, 5000, step=step)
    assert (s <= t).all()


@pytest.mark.parametrize("law", [*ONE_TIME, *PAIRS], ids=repr)
def test_a_seed_fixes_the_draw(law: Any) -> None:
    first, again, other = (tensors(draw(law, seed=seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    if law != Halving(levels=7, round_length=10):  # at its end it has one pair only
        assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(("law", "end"), CURRICULA, ids=lambda value: repr(value))
def test_no_step_is_the_end_of_the_curriculum(law: TimeLaw, end: int) -> None:
    s, t = draw(law)
    for step in (end, end + 1, 10**9):
        late = draw(law, step=step)
        assert torch.equal(late.s, s)
        assert torch.equal(late.t, t)
    early = draw(law, step=end - 1)
    assert not (torch.equal(early.s, s) and torch.equal(early.t, t))


@pytest.mark.parametrize("law", STATIC, ids=repr)
def test_other_laws_ignore_the_step(law: TimeLaw) -> None:
    for early, late in zip(draw(law, step=0), draw(law), strict=True):
        assert torch.equal(early, late)


@pytest.mark.parametrize("law", [*ONE_TIME, *PAIRS], ids=repr)
def test_the_repr_is_the_call(law: Any) -> None:
    assert eval(repr(law), vars(times)) == law
    assert hash(law) == hash(eval(repr(law), vars(times)))


@pytest.mark.parametrize(
    "law",
    [LogNoise(0.0, 1.0), UniformAngle(), Shrinking(Uniform()), Ladder(5, Karras()), Ladder(5, law=LogNoise(0.0, 1.0))],
)
def test_laws_in_noise_levels_ask_for_the_interpolant(law: Any) -> None:
    with pytest.raises(ValueError, match="`interpolant` must be given to .* stated in noise levels"):
        law(3)


class Third(OneTime):
    """A law that somebody else wrote."""

    def draw(self, request: Request) -> Tensor:
        return torch.full((request.n,), 1 / 3, dtype=request.dtype, device=request.device)


def test_a_new_law_is_one_method() -> None:
    s, t = EndpointFixed(Third())(4, dtype=torch.float64)
    assert s.tolist() == [1 / 3] * 4
    assert t.tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"n": 0}, ValueError, "`n` must be a whole number of at least 1, got 0"),
        ({"n": 2.0}, ValueError, "`n` must be a whole number of at least 1, got 2.0"),
        ({"n": True}, ValueError, "`n` must be a whole number of at least 1, got True"),
        ({"dtype": torch.bfloat16}, TypeError, "`dtype` must be torch.float32 or torch.float64, got torch.bfloat16"),
        ({"dtype": torch.int64}, TypeError, "`dtype` must be torch.float32 or torch.float64, got torch.int64"),
        ({"step": -1}, ValueError, "`step` must be a whole number of at least 0, got -1"),
        ({"step": 1.5}, ValueError, "`step` must be a whole number of at least 0, got 1.5"),
        ({"interpolant": "linear"}, TypeError, "`interpolant` must be an Interpolant, got str"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(options: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        UpperTriangle()(**{"n": 3, **options})


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda: Uniform(0.5, 0.5), ValueError, "0 <= low < high <= 1, got low = 0.5 and high = 0.5"),
        (lambda: Uniform(0.0, 1.5), ValueError, "0 <= low < high <= 1"),
        (lambda: LogitNormal(0.0, 0.0), ValueError, "`std` must be positive, got 0.0"),
        (lambda: LogNoise(float("nan"), 1.0), ValueError, "`mean` must be finite"),
        (lambda: UpperTriangle(PAIR_LAW), TypeError, r"`law` must be a law of one time, such as Uniform\(\)"),
        (lambda: DataRatio(SINGLE_LAW, 0.5), TypeError, r"`law` must be a law of pairs, such as UpperTriangle\(\)"),
        (lambda: DataRatio(UpperTriangle(), 1.1), ValueError, r"`ratio` must lie in \[0, 1\], got 1.1"),
        (lambda: EndpointFixed(end=-0.1), ValueError, r"`end` must lie in \[0, 1\]"),
        (lambda: Step(epsilon=0.0), ValueError, r"`epsilon` must lie in \(0, 1\], got 0.0"),
        (lambda: Annealed(SINGLE_LAW, 0.1, 5), TypeError, "`law` must be a law of pairs"),
        (lambda: Annealed(UpperTriangle(), 0.1, 0), ValueError, "`steps` must be a whole number of at least 1, got 0"),
        (
            lambda: Annealed(UpperTriangle(), 0.1, 5, -1),
            ValueError,
            "`after` must be a whole number of at least 0, got",
        ),
        (lambda: Dyadic(0), ValueError, "`levels` must be a whole number of at least 1, got 0"),
        (lambda: Dyadic(25), ValueError, "`levels` must be at most 24, .* got 25"),
        (lambda: Halving(3, 0), ValueError, "`round_length` must be a whole number of at least 1"),
        (lambda: Karras(sigma_min=2.0, sigma_max=1.0), ValueError, "0 < sigma_min < sigma_max, got 2.0 and 1.0"),
        (lambda: Karras(rho=0.5), ValueError, "`rho` must be at least 1, got 0.5"),
        (lambda: Doubling(20, 10), ValueError, "`end` must be at least `start`, 20, got 10"),
        (lambda: Doubling(0, 10), ValueError, "`start` must be a whole number of at least 1, got 0"),
        (lambda: SquareRoot(1, 10), ValueError, "`start` must be a whole number of at least 2, got 1"),
        (lambda: SquareRoot(20, 10), ValueError, "`end` must be at least `start`, 20, got 10"),
        (lambda: Grid(0), ValueError, "`steps` must be a whole number of at least 1, got 0"),
        (lambda: Intervals(PAIR_LAW), TypeError, "`law` must be a law of one time"),
        (lambda: Widening(start=0.0), ValueError, r"`start` must lie in \(0, 1\], got 0.0; pass the longest"),
        (lambda: Widening(round_length=0), ValueError, "`round_length` must be a whole number of at least 1, got 0"),
        (lambda: Widening(SINGLE_LAW), TypeError, "`law` must be a law of pairs"),
        (lambda: Leaps(1), ValueError, "`rungs` must be a whole number of at least 2, got 1"),
        (lambda: Leaps(5, WORD), ValueError, r'`spacing` must be "uniform" or Karras\(...\), got \'karras\''),
        (lambda: Decrement(PAIR_LAW), TypeError, "`law` must be a law of one time"),
        (lambda: Decrement(step=0.0), ValueError, "`step` must be positive, got 0.0"),
        (lambda: Decrement(last=1.5), ValueError, r"`last` must lie in \[0, 1\], got 1.5"),
        (lambda: Ladder(1), ValueError, "`rungs` must be a whole number of at least 2, got 1"),
        (lambda: Ladder(5, WORD), ValueError, r'`spacing` must be "uniform" or Karras\(...\), got \'karras\''),
        (lambda: Ladder(5, law=WORD), ValueError, r'`law` must be "uniform" or LogNoise\(mean, std\)'),
        (lambda: Shrinking(PAIR_LAW), TypeError, "`law` must be a law of one time"),
        (lambda: Shrinking(q=1.0), ValueError, "`q` must exceed 1, got 1.0"),
        (lambda: Shrinking(k=-1.0), ValueError, "`k` must not be negative"),
        (lambda: Shrinking(stages=0), ValueError, "`stages` must be a whole number of at least 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_parameters_are_refused(build: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        build()


def test_every_law_is_tested_here() -> None:
    laws = {name for name, value in vars(times).items() if isinstance(value, type) and issubclass(value, times.Law)}
    covered = {type(law).__name__ for law in (*ONE_TIME, *PAIRS)}
    assert laws - covered == {"Law", "OneTime", "ThreeTimes", "TimeLaw"}


N = 20_000
RATE = 1e-6  # of a false alarm of a statistic, at a fixed seed


def many(law: OneTime, **options: Any) -> Tensor:
    return law(N, generator=torch.Generator().manual_seed(7), dtype=torch.float64, **options)


def assert_law(sample: Tensor, law: Any) -> None:
    """Kolmogorov-Smirnov."""
    assert stats.kstest(sample.numpy(), law.cdf).pvalue > RATE


def test_uniform() -> None:
    assert_law(many(Uniform()), stats.uniform())
    assert_law(many(Uniform(0.25, 0.75)), stats.uniform(0.25, 0.5))


def test_the_statistics_see_a_wrong_law() -> None:
    t = many(Uniform()).numpy()
    assert stats.kstest(t, stats.uniform(0.0, 1.1).cdf).pvalue < RATE
    assert stats.kstest(t, stats.beta(1.1, 1.0).cdf).pvalue < RATE


def test_logit_normal() -> None:
    t = many(LogitNormal(-0.4, 1.3))
    assert_law((t / (1 - t)).log(), stats.norm(-0.4, 1.3))


@pytest.mark.parametrize("I", [linear(), trigonometric(), variance_preserving()], ids=lambda I: I.name)
def test_log_noise_is_normal_in_the_log_of_the_noise_level(I: Interpolant) -> None:
    t = many(LogNoise(-1.1, 1.2), interpolant=I)
    assert_law((I.alpha(t) / I.beta(t)).log(), stats.norm(-1.1, 1.2))


def test_log_noise_of_the_linear_interpolant_is_logit_normal() -> None:
    t = many(LogNoise(0.4, 1.0), interpolant=linear())
    torch.testing.assert_close(1 - t, many(LogitNormal(0.4, 1.0)))


def test_log_noise_beyond_the_schedule_falls_on_its_ends() -> None:
    t = many(LogNoise(0.0, 1.0), interpolant=edm(0.5, 2.0))
    outside = stats.norm.cdf(-np.log(2))
    for end in (0.0, 1.0):
        count = int((t == end).sum())
        assert stats.binomtest(count, N, outside).pvalue > RATE


ANGLE_SCHEDULES = [trigonometric(), cosine(), variance_preserving(), edm()]


@pytest.mark.parametrize("I", ANGLE_SCHEDULES, ids=lambda I: I.name)
def test_uniform_angle_is_uniform_in_the_angle_between_those_of_the_ends(I: Interpolant) -> None:
    t, ends = many(UniformAngle(), interpolant=I), torch.tensor([0.0, 1.0], dtype=torch.float64)
    first, last = torch.atan2(I.beta(ends), I.alpha(ends)).tolist()
    assert_law(torch.atan2(I.beta(t), I.alpha(t)), stats.uniform(first, last - first))
    if I.name == "trigonometric":
        torch.testing.assert_close(t, many(Uniform()))
    if I.name == "variance_preserving":
        assert stats.kstest(t.numpy(), "uniform").pvalue < RATE


@pytest.mark.parametrize("I", ANGLE_SCHEDULES, ids=lambda I: I.name)
def test_the_angle_of_a_draw_divides_that_of_the_schedule(I: Interpolant, monkeypatch: pytest.MonkeyPatch) -> None:
    u, ends = torch.linspace(0.01, 0.99, 9, dtype=torch.float64), torch.arange(2, dtype=torch.float64)
    monkeypatch.setattr(Request, "uniform", lambda _: u)
    t = UniformAngle()(9, interpolant=I, dtype=torch.float64)
    first, last = torch.atan2(I.beta(ends), I.alpha(ends))
    torch.testing.assert_close(torch.atan2(I.beta(t), I.alpha(t)), torch.lerp(first, last, u), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("I", ANGLE_SCHEDULES, ids=lambda I: I.name)
def test_uniform_angle_draws_no_time_at_which_a_rate_is_infinite(
    I: Interpolant, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 1 - torch.finfo(dtype).eps / 2
    ends = torch.tensor([0.0, torch.finfo(dtype).tiny, largest, 1.0], dtype=dtype)
    monkeypatch.setattr(Request, "uniform", lambda _: ends)
    t = UniformAngle()(4, interpolant=I, dtype=dtype)
    assert (t.diff() >= 0).all()
    assert ((t > 0) & (t < 1)).all()
    assert t[-1] == largest  # no further from 1 than its precision
    assert (I.alpha_dot(t).isfinite() & I.beta_dot(t).isfinite()).all()


def test_uniform_angle_wants_two_terms() -> None:
    with pytest.raises(ValueError, match="`I` must have two terms, got the encoding_decoding interpolant"):
        UniformAngle()(3, interpolant=encoding_decoding())

r"""Annealing widens the pairs from the diagonal, where self-distillation is flow matching, to the whole triangle.

Of $(s,T)$ uniform on the triangle, $t=\min(T,s+\delta)$: with the chance $(1-\delta)^2$ the length is $\delta$, below
it has the density $2(1-h)$; the start times keep their law, $2(1-s)$. The longest length of training step $k$ is
$\delta(k)=\min((k-N_{fm})_+/N_{anneal},1)$. While it is zero the terms with the own velocity are zero, with their
gradients, and a step is $\eta$ times one of flow matching; when it is one the step is that of the row.

Hypotheses: none for the law; a random network for the gradients. 40,000 draws, Kolmogorov-Smirnov and binomial tests
with a false-alarm rate of $10^{-6}$ each on fixed seeds.

Source: 2505.18825 F.2 (93) and the paragraph on annealing and pre-training.
"""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from flowops import interpolants
from flowops.methods import get_method
from flowops.times import Annealed, FullSquare, Pair, TimeLaw, UpperTriangle
from theory_checks.cases import SINGLE
from theory_checks.gradients import SAME, agree, batch, differ, flat_gradient, gradient, random_map
from theory_checks.verdicts import Check

I = interpolants.linear()
DRAWS = 40_000
RATE = 1e-6
N_FM, N_ANNEAL = 100, 400
LAW = Annealed(UpperTriangle(), start=0.0, steps=N_ANNEAL, after=N_FM)
ROWS = [("lsd", "map"), ("esd", "map"), ("esd", "velocity"), ("psd-u", "velocity"), ("psd-m", "map")]
EVERY = pytest.mark.parametrize(("name", "form"), ROWS, ids=[f"{name} {form}" for name, form in ROWS])


def step_of(delta: float) -> int:
    return N_FM + round(delta * N_ANNEAL)


def pairs(delta: float, law: TimeLaw = LAW, dtype: torch.dtype = torch.float64) -> Pair:
    return law(DRAWS, step=step_of(delta), dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("delta", [0.1, 0.5, 0.9])
def test_the_lengths_have_the_law_of_the_clamp(delta: float) -> None:
    s, t = pairs(delta)
    length = t - s
    longest = length > delta - 1e-12
    assert stats.binomtest(int(longest.sum()), DRAWS, (1 - delta) ** 2).pvalue > RATE
    share = 1 - (1 - delta) ** 2
    below = stats.kstest(length[~longest].numpy(), lambda h: (1 - (1 - h) ** 2) / share)
    assert below.pvalue > RATE
    assert stats.kstest(s.numpy(), lambda s: 1 - (1 - s) ** 2).pvalue > RATE
    ends = stats.kstest(t[longest].numpy(), lambda t: 1 - ((1 - t) / (1 - delta)) ** 2)
    assert ends.pvalue > RATE


@pytest.mark.parametrize("delta", [0.0, 0.3, 1.0])
def test_it_is_the_clamp_of_each_pair(check: Check, delta: float) -> None:
    """In both orders of the times, pair by pair, against the formula; and in single precision."""
    for law in (UpperTriangle(), FullSquare()):
        annealed = Annealed(law, start=0.0, steps=N_ANNEAL, after=N_FM)
        (s, t), (S, T) = (
            pairs(delta, annealed),
            law(DRAWS, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        )
        clamped = torch.where(T >= S, torch.minimum(T, S + delta), torch.maximum(T, S - delta))
        check.vanishes(torch.stack([s - S, t - clamped]), SAME)
        single = pairs(delta, annealed, torch.float32)
        check.vanishes((single[1] - single[0]).abs().clamp(min=delta) - delta, SINGLE)


@pytest.mark.parametrize(("step", "delta"), [(0, 0.0), (99, 0.0), (100, 0.0), (101, 1 / 400), (300, 0.5), (500, 1.0)])
def test_the_longest_length_grows_with_the_step(check: Check, step: int, delta: float) -> None:
    check.vanishes(torch.tensor(LAW.delta(step) - delta), SAME)
    assert LAW.delta(10**6) == LAW.delta(None) == 1.0


@EVERY
def test_at_first_a_step_is_one_of_flow_matching(check: Check, name: str, form: str) -> None:
    X, samples = random_map(1), batch(1)
    method = get_method(name, form=form, eta=0.5, law=LAW)
    for step in (0, N_FM):
        result = method(X, I, *samples, step=step, seed=3)
        (own,) = [value for term, value in result.per_term.items() if term != "diagonal"]
        check.vanishes(own, SAME)
        (diagonal, _) = method.draw(X, I, *samples, step=step, seed=3).terms
        assert diagonal is not None
        x = I(diagonal.t, diagonal.x0, diagonal.x1)
        matching = (X.network(diagonal.t, diagonal.t, x) - I.velocity(diagonal.t, diagonal.x0, diagonal.x1)).square()
        half = 0.5 * flat_gradient(matching.sum(1).mean(), X)
        agree(check, gradient(method, X, I, samples, step=step), half)


@EVERY
def test_in_the_end_it_is_one_of_the_row(check: Check, name: str, form: str) -> None:
    X, samples = random_map(2), batch(2)
    plain = gradient(get_method(name, form=form, eta=0.5), X, I, samples)
    annealed = get_method(name, form=form, eta=0.5, law=LAW)
    agree(check, gradient(annealed, X, I, samples, step=N_FM + N_ANNEAL), plain)
    agree(check, gradient(annealed, X, I, samples), plain)
    early, late = (gradient(annealed.with_options(eta=0.0), X, I, samples, step=N_FM + k) for k in (40, N_ANNEAL))
    differ(early, late)


def test_negative_control(check: Check) -> None:
    r"""A longest length that is off by $\epsilon$ is seen pair by pair; shrunk intervals have another law."""
    S, T = pairs(0.3, UpperTriangle())
    _, t = pairs(0.3)
    wrong, half = (torch.minimum(T, S + 0.3 + epsilon) - t for epsilon in (1e-2, 5e-3))
    check.sees(wrong, half, SAME)
    shrunk = 0.3 * (T - S)
    assert stats.kstest(shrunk.numpy(), lambda h: 1 - (1 - h) ** 2).pvalue < RATE

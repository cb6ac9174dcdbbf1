"""Sampling along a flow map: plain steps, gamma-sampling, restarts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, Interpolant, interpolants, problems
from flowops.problems import Problem
from flowops.sampling import gamma_sample, noise, renoise, restart_sample, sample
from flowops.sampling.grids import uniform
from tests.examples import normal, over

GRID = [0.0, 0.2, 0.5, 0.9, 1.0]
TWO_TERMS = ["linear", "trigonometric", "cosine", "variance_preserving", "variance_exploding", "edm"]


class Recorded(FlowMap):
    """A map that keeps the times it was called with."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X, self.calls = X, list[tuple[float, float, int]]()

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        self.calls.append((float(s[0]), float(t[0]), len(x)))
        return self.X(s, t, x)


class Labelled(FlowMap):
    """Each sample moves at the speed of its label."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return x + over((t - s) * label, x)


def gaussian(name: str = "linear") -> Problem[Any, Any]:
    """A planar Gaussian pair."""
    covariance = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    return problems.gaussian(torch.tensor([1.0, -0.5]), covariance, interpolants.named(name))


def test_exact_steps_end_where_one_jump_does() -> None:
    X, x0 = gaussian().X, normal(5, 2)
    assert_close(sample(X, x0, GRID), X(0.0, 1.0, x0))
    recorded = Recorded(X)
    sample(recorded, x0, GRID)
    assert [(s, t) for s, t, _ in recorded.calls] == list(zip(GRID[:-1], GRID[1:], strict=True))


@pytest.mark.parametrize("chunk", [1, 3, 7, 8, 100])
def test_chunks_change_nothing_and_conditions_stay_with_their_samples(chunk: int) -> None:
    x0, label = normal(7, 2), torch.arange(7)
    X = Labelled().given(label=label)
    wanted = x0 + label[:, None]
    assert_close(sample(X, x0, GRID, chunk=chunk), wanted)
    assert_close(gamma_sample(X, interpolants.linear(), x0, GRID, 0.0, seed=0, chunk=chunk), wanted)
    assert_close(sample(Labelled().given(label=torch.tensor(2)), x0, GRID, chunk=chunk), x0 + 2)
    Y, I = Recorded(gaussian().X), interpolants.linear()
    whole = gamma_sample(Y.X, I, x0, GRID, 0.5, seed=3)
    assert_close(gamma_sample(Y, I, x0, GRID, 0.5, seed=3, chunk=chunk), whole)
    assert max(n for _, _, n in Y.calls) <= chunk
    restarted = restart_sample(Y.X, I, x0, GRID, (0.2, 0.9), 2, seed=3)
    assert_close(restart_sample(Y.X, I, x0, GRID, (0.2, 0.9), 2, seed=3, chunk=chunk), restarted)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_a_sample_depends_on_its_number_alone(gamma: float) -> None:
    X, I = gaussian().X, interpolants.linear()
    whole = gamma_sample(X, I, noise(6, (2,), seed=4, dtype=torch.float64), GRID, gamma, seed=4)
    part = noise(2, (2,), seed=4, dtype=torch.float64, start=3)
    assert_close(gamma_sample(X, I, part, GRID, gamma, seed=4, start=3), whole[3:5])
    restarted = restart_sample(X, I, part, GRID, (0.2, 0.5), 1, seed=4, start=3)
    x0 = noise(6, (2,), seed=4, dtype=torch.float64)
    assert_close(restarted, restart_sample(X, I, x0, GRID, (0.2, 0.5), 1, seed=4)[3:5])


@pytest.mark.parametrize("name", TWO_TERMS)
def test_gamma_zero_is_plain_sampling_and_gamma_one_the_sampler_of_consistency_models(name: str) -> None:
    problem, x0 = gaussian(name), normal(4, 2)
    X, I = problem.X, problem.interpolant
    assert I is not None
    assert_close(gamma_sample(X, I, x0, GRID, 0.0, seed=1), sample(X, x0, GRID), rtol=0, atol=0)
    x = X(0.0, 1.0, x0)
    for i, t in enumerate(GRID[1:-1], 1):
        time = torch.tensor(t, dtype=torch.float64)
        ends = float(I.alpha(torch.ones(1).double())), float(I.beta(torch.ones(1).double()))
        ratio = float(I.beta(time)) / ends[1]
        scale = (float(I.alpha(time)) ** 2 - (ratio * ends[0]) ** 2) ** 0.5  # ends[0] is zero, or the schedule's defect
        x = X(t, 1.0, ratio * x + scale * noise(4, (2,), seed=1, stream=i, dtype=torch.float64))
    recorded = Recorded(X)
    assert_close(gamma_sample(recorded, I, x0, GRID, 1.0, seed=1), x)
    assert all(t == 1 for _, t, _ in recorded.calls)


@pytest.mark.parametrize("name", TWO_TERMS)
@pytest.mark.parametrize("gamma", [0.3, 0.8])
def test_the_map_goes_beyond_each_time_by_the_noise_that_comes_back(name: str, gamma: float) -> None:
    problem = gaussian(name)
    I, recorded = problem.interpolant, Recorded(problem.X)
    assert I is not None
    gamma_sample(recorded, I, normal(2, 2), GRID, gamma, seed=0)
    starts, ends = ([call[i] for call in recorded.calls] for i in (0, 1))
    assert starts == GRID[:-1]
    assert ends[-1] == 1
    level = [float(I.alpha(t) / I.beta(t)) for t in torch.tensor([*ends, *GRID[1:]], dtype=torch.float64)]
    for beyond, aimed in zip(level[: len(ends) - 1], level[len(ends) : -1], strict=True):
        assert_close(beyond, max((1 - gamma**2) ** 0.5 * aimed, level[-1]), rtol=1e-7, atol=0)


def test_renoise_goes_from_the_law_of_a_later_time_to_that_of_an_earlier_one() -> None:
    I, x1 = interpolants.trigonometric(), torch.full((50_000, 1), 2.0, dtype=torch.float64)
    later, earlier = torch.tensor([0.8, 0.3], dtype=torch.float64)
    x = I(later, normal(50_000, 1, seed=9), x1)
    back = renoise(I, 0.8, 0.3, x, seed=1)
    assert_close(back.mean(), 2 * I.beta(earlier), rtol=0, atol=6 * 50_000**-0.5)
    assert_close(back.std(), I.alpha(earlier), rtol=6 * (2 * 50_000) ** -0.5, atol=0)
    few = x[:100]
    assert_close(renoise(I, 0.8, 0.8, few, seed=1), few, rtol=0, atol=1e-7)
    assert_close(renoise(I, 0.8, 0.0, few, seed=1), noise(100, (1,), seed=1, dtype=torch.float64))


def test_restarts_repeat_the_steps_between_two_times() -> None:
    recorded = Recorded(gaussian().X)
    I, x0 = interpolants.linear(), normal(3, 2)
    restart_sample(recorded, I, x0, GRID, (0.2, 0.9), 2, seed=0)
    between = [(0.2, 0.5), (0.5, 0.9)]
    wanted = [(0.0, 0.2), *between, *between, *between, (0.9, 1.0)]
    assert_close(torch.tensor([call[:2] for call in recorded.calls]), torch.tensor(wanted))
    assert_close(restart_sample(recorded.X, I, x0, GRID, (0.2, 0.9), 0, seed=0), sample(recorded.X, x0, GRID))
    to_the_end = restart_sample(recorded.X, I, x0, GRID, (0.5, 1.0), 1, seed=0)
    x = renoise(I, 1.0, 0.5, sample(recorded.X, x0, GRID), seed=0, stream=1)
    assert_close(to_the_end, recorded.X(0.5, 1.0, x))


def test_nothing_is_recorded_for_gradients_and_dtypes_are_kept() -> None:
    X, I = gaussian().X, interpolants.linear()
    for dtype in (torch.float32, torch.float64):
        x0 = normal(3, 2, dtype=dtype).requires_grad_()
        for x in (
            sample(X, x0, GRID),
            gamma_sample(X, I, x0, GRID, 0.5, seed=0),
            restart_sample(X, I, x0, GRID, (0.2, 0.5), 1, seed=0),
        ):
            assert x.dtype == dtype
            assert not x.requires_grad


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused_in_a_sentence() -> None:
    X, I, x0 = gaussian().X, interpolants.linear(), normal(3, 2)
    latent = Interpolant.from_expressions("1-t", "t", "t*(1-t)")
    bad: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "`X` must be a FlowMap", lambda: sample(torch.nn.Linear(2, 2), x0, GRID)),  # type: ignore[arg-type]
        (ValueError, "`grid` must run from 0 to 1", lambda: sample(X, x0, [0.0, 0.5])),
        (ValueError, "`chunk` must be a whole number of at least 1", lambda: sample(X, x0, GRID, chunk=0)),
        (ValueError, "`gamma` must lie in", lambda: gamma_sample(X, I, x0, GRID, 1.5, seed=0)),
        (ValueError, "two terms and a Gaussian base", lambda: gamma_sample(X, latent, x0, GRID, 0.5, seed=0)),
        (TypeError, "`interpolant` must be an Int", lambda: gamma_sample(X, X, x0, GRID, 0.5, seed=0)),
        (ValueError, "two increasing times of", lambda: restart_sample(X, I, x0, GRID, (0.2, 0.3), 1, seed=0)),
        (ValueError, "two increasing times of", lambda: restart_sample(X, I, x0, GRID, (0.5, 0.2), 1, seed=0)),
        (ValueError, "`restarts` must be", lambda: restart_sample(X, I, x0, GRID, (0.2, 0.5), -1, seed=0)),
        (
            ValueError,
            "one entry per sample",
            lambda: sample(Labelled().given(label=torch.arange(4)), x0, GRID, chunk=2),
        ),
    ]
    for kind, message, action in bad:
        with pytest.raises(kind, match=message):
            action()


def test_one_step_is_one_call() -> None:
    recorded = Recorded(gaussian().X)
    gamma_sample(recorded, interpolants.linear(), normal(3, 2), uniform(1), 1.0, seed=0)
    assert recorded.calls == [(0.0, 1.0, 3)]

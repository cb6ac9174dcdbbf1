"""How many evaluations solves and samples take on fixed problems: what no noise of a machine can move."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from experiments.benchmarks.solution_operator import ring
from flowops import LearnedMap, SolutionOperator, VelocityField
from flowops.interpolants import linear
from flowops.networks import MLP
from flowops.sampling.baselines import solve
from flowops.sampling.grids import uniform

SAMPLES = 32


class Seen(VelocityField):
    """The field of the mixture on the ring, which notes for how many samples each call asks."""

    def __init__(self) -> None:
        super().__init__()
        self.b, self.sizes = ring().b, []  # type: ignore[var-annotated]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.b(t, x)

    @property
    def calls(self) -> float:
        """Evaluations for each sample on average."""
        return sum(self.sizes) / SAMPLES


@cache
def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Times and states of planar mixture samples, and where they end."""
    generator, target = torch.Generator().manual_seed(0), ring()
    s, t = torch.rand(2, SAMPLES, generator=generator, dtype=torch.float64)
    x = target.sample(s, SAMPLES, generator=generator, dtype=torch.float64)
    return s, t, x, SolutionOperator(target.b, method="torchdiffeq:dopri8", rtol=1e-13, atol=1e-13)(s, t, x)


@cache
def once() -> float:
    s, t, x, _ = problem()
    return spent(lambda X: X(s, t, x))


def spent(work: Callable[[SolutionOperator], object], **solver: float | str) -> float:
    b = Seen()
    work(SolutionOperator(b, **({"rtol": 1e-6, "atol": 1e-6} | solver)))  # type: ignore[arg-type]
    return b.calls


@pytest.mark.parametrize(("method", "most"), [("dopri5", 52.6), ("tsit5", 56.9), ("dopri8", 57.2)])
def test_a_solve_takes_few_evaluations_at_its_error(method: str, most: float) -> None:
    # along the line in logarithms through two tolerances, so that a change of what a tolerance means does not count
    s, t, x, truth = problem()
    points = []
    for tolerance in (1e-6, 1e-8):
        b = Seen()
        found = SolutionOperator(b, method=method, rtol=tolerance, atol=tolerance)(s, t, x)
        points.append((math.log(float((found - truth).square().mean().sqrt())), math.log(b.calls)))
    (a, p), (b_, q) = points
    assert 0.8 * most < math.exp(p + (q - p) * (math.log(1e-7) - a) / (b_ - a)) <= most


def test_samples_that_have_arrived_are_asked_no_more() -> None:
    s, t, x, _ = problem()
    b = Seen()
    work = SolutionOperator(b, rtol=1e-9, atol=1e-9).solve(s, t, x)[1]
    own = float(work.calls.sum()) / SAMPLES
    assert own <= b.calls <= 1.05 * own
    assert len(b.sizes) == int(work.calls.max())
    assert b.calls < 0.5 * len(b.sizes)


@pytest.mark.parametrize(
    ("name", "most"),
    [("jvp", 1.24), ("ds", 1.24), ("material_derivative", 1.29), ("vjp", 1.98), ("log_abs_det", 2.49)],
)
def test_a_derivative_takes_few_solves(name: str, most: float) -> None:
    s, t, x, _ = problem()
    u = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    arguments = (s, t, x, u) if name in ("jvp", "material_derivative", "vjp") else (s, t, x)
    assert 0.9 * most < spent(lambda X: getattr(X, name)(*arguments)) / once() <= most


def test_a_gradient_repeats_the_accepted_steps_alone() -> None:
    s, t, x, _ = problem()
    work = SolutionOperator(ring().b, rtol=1e-6, atol=1e-6).solve(s, t, x)[1]
    start = x.clone().requires_grad_()
    more = spent(lambda X: X(s, t, start).sum().backward()) - once()
    share = float(work.steps.sum()) / float((work.steps + work.rejected).sum())
    assert more <= share * once() * 1.05


def test_a_derivative_in_the_end_time_takes_one_evaluation_more() -> None:
    s, t, x, _ = problem()
    assert spent(lambda X: X.dt(s, t, x)) == spent(lambda X: X.value_and_dt(s, t, x)) == once() + 1


def test_a_time_on_the_way_takes_a_step_and_a_half() -> None:
    x, times = problem()[2], torch.linspace(0, 1, 17, dtype=torch.float64)[1:]
    each = (spent(lambda X: X.path(0.0, times, x)) - spent(lambda X: X(0.0, 1.0, x))) / len(times)
    assert 12 <= each <= 18  # a step of dopri8 takes twelve


@pytest.mark.parametrize(
    ("method", "calls"),
    [("map", 1), ("euler", 1), ("ddim", 1), ("dpm-solver", 1), ("heun", 2)],
    ids=lambda value: value,
)
@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_of_a_sampler_calls_the_network_so_often(method: str, calls: int, steps: int) -> None:
    network = MLP(2, width=8, depth=1, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    network.register_forward_hook(lambda *_: seen.append(1))
    X, x0 = LearnedMap(network), torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    if method == "map":
        X.compose(uniform(steps), x0)
    else:
        interpolant = linear() if method in ("ddim", "dpm-solver") else None
        assert solve(X.velocity(), x0, method, steps=steps, interpolant=interpolant).calls == calls * steps
    assert len(seen) == calls * steps


def test_an_adaptive_sampler_calls_the_network_as_often_as_it_says() -> None:
    network = MLP(2, width=8, depth=1, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    network.register_forward_hook(lambda _, arguments, __: seen.append(len(arguments[2])))
    x0 = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    found = solve(LearnedMap(network).velocity(), x0, "dopri5", tolerance=1e-4)
    assert found.calls == sum(seen) / 5 == 32  # the two at the start, and five steps of six

r"""Consistency mid-training is regression on the teacher's trajectory from the prior, up to the error of the solver.

Gradients on random networks: that of `cmt` with `steps` steps of a method of order $p$ tends to that of `regression`
from $x_s=\Phi_{0,s}(x_0)$ at order $p$, also with several end times on one trajectory; with a map as teacher they are
one. A whole trajectory gives every point of it, each with the end that the law says, and vanishes at the exact flow at
the order of its solver. No data is seen: the loss does not depend on $x_1$. Regression from $I_s$, or along another
teacher, has another gradient.

Hypotheses: a smooth teacher.

Source: 2509.24526 (mid-training of flow maps); Hairer, Norsett, Wanner, Thm. II.3.4.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, problems
from flowops.methods import get_method
from flowops.times import EndpointFixed, Karras, Trajectory
from theory_checks.gradients import EDGES, Edge, Fixed, agree, batch, differ, flat_gradient, gradient, random_map, tends
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I, B = interpolants.linear(), SmoothField((2,), seed=4)


@pytest.mark.parametrize(("solver", "order", "most"), [("euler", 1.0, 64), ("heun", 2.0, 32), ("rk4", 4.0, 8)])
@pytest.mark.parametrize("points", [1, 3])
def test_the_steps_tend_to_the_solution(check: Check, solver: str, order: float, most: int, points: int) -> None:
    X, samples = random_map(1), batch(1)
    shared = {"law": Fixed(), "points": points}
    exact = gradient(get_method("regression", start="trajectory", **shared), X, I, samples, teacher=B)

    def at(step: float) -> Tensor:
        return gradient(get_method("cmt", solver=solver, steps=round(1 / step), **shared), X, I, samples, teacher=B)

    tends(check, at, exact, [4 / most, 2 / most, 1 / most], order)


@pytest.mark.parametrize("edge", [EDGES[name] for name in EDGES if name != "equal times"], ids=str)
def test_with_a_map_as_teacher_they_are_one(check: Check, edge: Edge) -> None:
    X, before = (random_map(seed, edge.event).to(edge.dtype) for seed in (1, 2))
    samples = batch(1, edge.n, edge.event, edge.dtype)
    ours = gradient(get_method("cmt"), X, I, samples, teacher=before)
    theirs = gradient(get_method("regression", start="trajectory"), X, I, samples, teacher=before)
    assert ours.dtype == edge.dtype
    agree(check, ours, theirs, edge.tolerance)


class Shifted(FlowMap):
    """A map as teacher whose steps are easy to write down."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + torch.sin(x + s[:, None]) * (t - s)[:, None]


@pytest.mark.parametrize(("law", "part"), [(Fixed((0.0,) * 6, (1.0,) * 6), 1.0), (Fixed((0.2,) * 6, (0.6,) * 6), 0.5)])
def test_every_point_of_one_trajectory_is_compared_with_its_end(check: Check, law: Fixed, part: float) -> None:
    """Towards the last point, a consistency model, or towards the part of the rungs ahead."""
    X, samples, steps = random_map(5), batch(5), 4
    grid = torch.arange(steps + 1, dtype=torch.float64) / steps
    states = [samples.x0]
    for a, b in pairwise(grid):
        states.append(Shifted()(a, b, states[-1]))
    total = torch.zeros(())
    for j in range(steps):
        k = j + max(1, math.ceil(part * (steps - j)))
        total = total + (X(grid[j], grid[k], states[j]) - states[k]).square().sum(1).mean() / steps
    method = get_method("cmt", law=Trajectory(steps + 1, "uniform", law))
    expected = flat_gradient(total, X)
    agree(check, gradient(method, X, I, samples, teacher=Shifted()), expected)
    differ(expected, gradient(get_method("cmt", law=law), X, I, samples, teacher=Shifted()))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1.0), ("dpm-solver", 2.0), ("heun", 2.0)])
def test_a_trajectory_of_many_points_vanishes_at_the_exact_flow_at_the_order_of_its_solver(
    check: Check, solver: str, order: float
) -> None:
    edm = interpolants.edm()
    problem, x = problems.gaussian([0.7], 0.4, edm), batch(6, 4, (1,)).x0
    assert problem.X is not None
    sizes, counts = [], (32, 64, 128)
    for count in counts:
        law = Trajectory(count + 1, Karras(), EndpointFixed())
        loss = get_method("cmt", law=law, solver=solver)(problem.X, edm, x, x, teacher=problem.b, seed=0).loss
        sizes.append(loss.sqrt())
    check.order(torch.stack(sizes), torch.tensor([1 / count for count in counts]), order)


def test_no_data_is_seen(check: Check) -> None:
    X, samples = random_map(3), batch(3)
    ours = gradient(get_method("cmt"), X, I, samples, teacher=B)
    agree(check, ours, gradient(get_method("cmt"), X, I, samples._replace(x1=samples.x1 + 1), teacher=B))
    differ(ours, gradient(get_method("cmt"), X, I, samples._replace(x0=samples.x0 + 1), teacher=B))


def test_negative_control(check: Check) -> None:
    X, samples = random_map(4), batch(4)
    exact = gradient(get_method("regression", start="trajectory"), X, I, samples, teacher=B)
    for start in ("interpolant", "pushforward"):
        differ(exact, gradient(get_method("regression", start=start), X, I, samples, teacher=B))

    def off(delta: float) -> Tensor:
        return (gradient(get_method("cmt", steps=64), X, I, samples, teacher=(1 + delta) * B) - exact) / exact.norm()

    check.sees(off(2e-2), off(1e-2), 1e-3)

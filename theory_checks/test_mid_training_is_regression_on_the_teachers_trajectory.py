r"""Consistency mid-training is regression on the teacher's trajectory from the prior, up to the error of the solver.

Gradients on random networks: that of `cmt` with `steps` steps of a method of order $p$ tends to that of `regression`
from $x_s=\Phi_{0,s}(x_0)$ at order $p$, also with several end times on one trajectory; with a map as teacher they are
one. No data is seen: the loss does not depend on $x_1$. Regression from $I_s$, or along another teacher, has another
gradient.

Hypotheses: a smooth teacher.

Source: 2509.24526 (mid-training of flow maps); Hairer, Norsett, Wanner, Thm. II.3.4.
"""

import pytest
from torch import Tensor

from flowops import interpolants
from flowops.methods import get_method
from theory_checks.gradients import EDGES, Edge, Fixed, agree, batch, differ, gradient, random_map, tends
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

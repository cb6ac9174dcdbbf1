"""The DETEST problems by every pair against scipy's DOP853 at 1e-12, forward, backward, and as one batch of times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from flowops import SolutionOperator
from tests.solvers.detest import END, PROBLEMS, Problem

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]
problems = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)


def reference(problem: Problem, s: float, t: list[float], y: Tensor) -> Tensor:
    """The states at ascending or descending times, `[times, n]`."""

    def rhs(tau: float, z: np.ndarray) -> np.ndarray:
        return problem.slope(torch.tensor([tau]).double(), torch.from_numpy(z)[None])[0].numpy()

    # A continuation from time to time: no interpolation.
    states = []
    for end in t:
        found = solve_ivp(rhs, (s, end), y.numpy(), method="DOP853", rtol=1e-12, atol=1e-12)
        s, y = end, torch.from_numpy(found.y[:, -1])
        states.append(y)
    return torch.stack(states)


def distance(value: Tensor, exact: Tensor) -> float:
    return ((value - exact).abs().amax() / (1 + exact.abs().amax())).item()


ENDS: dict[str, Tensor] = {}


@problems
def test_a_batch_of_times_and_the_way_back(problem: Problem) -> None:
    times = [4.0, 9.0, 15.0, END]
    exact = reference(problem, 0.0, times, problem.y0)
    X = SolutionOperator(problem.b)
    value = X(0.0, torch.tensor(times).double(), problem.y0.expand(4, -1))
    assert distance(value, exact) < 2e-9
    path = X.path(0.0, times, problem.y0[None])[:, 0]
    assert distance(path, exact) < 2e-9
    # Back a little: further back the decaying problems magnify the last digit of their start beyond all bounds.
    behind = reference(problem, END, [END - 0.5, END - 1.0], exact[-1])
    back = X(END, torch.tensor([END - 0.5, END - 1.0]).double(), exact[-1].expand(2, -1))
    assert distance(back, behind) < 1e-8


@pytest.mark.parametrize("method", ["dopri8", "dop853", "dopri5", "tsit5"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_most_errors_are_within_ten_tolerances(method: str, tolerance: float) -> None:
    """At 1e-3 a pair of order 5 takes eight steps for an orbit, too few for its estimate: the orbits fail."""
    within = 0
    for problem in PROBLEMS:
        if problem.name not in ENDS:
            ENDS[problem.name] = reference(problem, 0.0, [END], problem.y0)[0]
        X = SolutionOperator(problem.b, method=method, rtol=tolerance, atol=tolerance)
        within += distance(X(0.0, END, problem.y0[None])[0], ENDS[problem.name]) <= 10 * tolerance
    loose = tolerance == 1e-3
    assert within >= {"dopri8": 24, "dop853": 24, "dopri5": 20 if loose else 24, "tsit5": 20 if loose else 24}[method]


@problems
def test_the_jacobian_acts_on_a_direction(problem: Problem) -> None:
    """Against differences of the solve itself, over a part of the interval."""
    y, X = problem.y0, SolutionOperator(problem.b, rtol=1e-12, atol=1e-12)
    u = torch.linspace(-1, 1, len(y)).double() + 0.5
    h = 1e-4
    moved = torch.stack([y + k * h * u for k in (-2, -1, 1, 2)])
    far, near, near_, far_ = X(0.0, 2.0, moved)
    difference = (8 * (near_ - near) - (far_ - far)) / (12 * h)
    assert distance(SolutionOperator(problem.b).jvp(0.0, 2.0, y[None], u[None])[0], difference) < 1e-6

r"""The best grid of K steps is a shortest path through the errors of single steps.

$$ \min_{0=i_0<\dots<i_K=n}\ \sum_kE_{i_ki_{k+1}},\qquad
E_{ij}=\mathbb E\,|X_{t_j,1}(X_{t_i,t_j}(y_i))-X_{t_j,1}(y_j)|^2 $$

Hypotheses: none on $E$; the minimum over all grids of these times is had by trying each of them. Uniform grids of the
times are among them, so that none is better by what is measured. Where steps shift a state by a known vector, $E$ is
known too. The best grid of other errors is seen to be worse.

Source: Bellman 1957; 2106.03802.
"""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops._arguments import per_event
from flowops.maps import SolverStep
from flowops.sampling import StepErrors, optimal_grids, step_errors
from flowops.sampling.grids import uniform
from theory_checks.cases import CLOSED_FORM, draw
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PROBLEM = problems.REFERENCE["gaussian"](interpolants.trigonometric())
REST = VelocityField.from_function(lambda _, x: 0 * x)


class Shift(FlowMap):
    r"""$x+\tfrac{(t-s)^2}{s+1/10}$: a step is wrong by a known number beside the flow that rests."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + per_event((t - s) ** 2 / (s + 0.1), x)


def random_errors(n: int, seed: int) -> StepErrors:
    """Positive errors of all steps between uniform times, without any structure."""
    squares = normal(seed, n + 1, n + 1).exp()
    return StepErrors(uniform(n), squares.masked_fill(torch.ones_like(squares).tril().bool(), torch.inf))


def every_grid(errors: StepErrors, steps: int) -> list[list[float]]:
    """All grids of so many steps."""
    return [[0.0, *inner, 1.0] for inner in combinations(errors.times[1:-1], steps - 1)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_best_of_all_grids(check: Check, seed: int) -> None:
    errors = random_errors(8, seed)
    for steps in range(1, 9):
        best = min(errors.of(grid) for grid in every_grid(errors, steps))
        check.vanishes(torch.tensor(errors.of(errors.grid(steps)) - best), CLOSED_FORM)


@pytest.mark.parametrize("event", [(2,), (3, 2, 2)])
def test_errors_that_are_known_are_measured(check: Check, event: tuple[int, ...]) -> None:
    errors = step_errors(Shift(), normal(3, 2, *event), uniform(6), b=REST)
    t = torch.tensor(uniform(6), dtype=torch.float64)
    wanted = ((t - t[:, None]) ** 2 / (t[:, None] + 0.1)).square()
    above = torch.ones_like(wanted).triu(1).bool()
    check.vanishes((errors.squares - wanted)[above], CLOSED_FORM)
    assert bool(errors.squares[~above].isinf().all())


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_no_uniform_grid_is_better(check: Check, method: str) -> None:
    X, x0, steps = SolverStep(PROBLEM.b, method), draw(PROBLEM, 0.0, 16, seed=4), (1, 2, 3, 5, 7)
    found = optimal_grids(X, x0, steps)
    errors = step_errors(X, x0, sorted({t for k in (24, *steps) for t in uniform(k)}))
    for k, grid in found.items():
        check.at_most(errors.of(grid) / errors.of(uniform(k)), 1.0)
    assert errors.of(found[5]) < 0.9 * errors.of(uniform(5))


def test_the_grid_of_other_errors_is_worse(check: Check) -> None:
    r"""With the cost of its own path raised by $\delta$ at every step, the total rises by as much and is seen."""
    errors, grid = random_errors(8, 5), random_errors(8, 6).grid(3)
    assert errors.of(grid) > errors.of(errors.grid(3)) * 1.1
    own = errors.grid(3)

    def raised(delta: float) -> Tensor:
        return torch.tensor(StepErrors(errors.times, errors.squares + delta).of(own) ** 2 - errors.of(own) ** 2)

    check.sees(raised(1e-3), raised(5e-4), CLOSED_FORM)

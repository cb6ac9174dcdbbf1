r"""Parareal is the solver after as many sweeps as parts, and before that an order of the map's error nearer each sweep.

Whatever the map $X$ that guesses, $K$ sweeps over $K$ parts give what the solver $F$ gives step by step. Where $X$ is
wrong by $\delta$ the error after $k$ sweeps is $O(\delta^{k+1})$, whether jumps are carried step by step or all at
once. A map that is exact converges in the first sweep. Hypotheses: a smooth field; none on the map for the last sweep.

Source: Lions, Maday, Turinici 2001; Gander, Vandewalle 2007, Thms. 4.5, 5.1.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops.sampling import parareal
from flowops.sampling.grids import uniform
from theory_checks.cases import CLOSED_FORM, SINGLE, draw, exact_map
from theory_checks.controls import Perturbed, Shifted
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PROBLEM = problems.REFERENCE["gaussian"](interpolants.trigonometric())
NONLINEAR = VelocityField.from_function(lambda t, x: torch.sin(2 * x + t.reshape(-1, *[1] * (x.ndim - 1))) - x / 2)
FINE: dict[str, Any] = {"method": "rk4", "steps": 4}
NEVER = 1e-300
GUESSES = {
    "rest": FlowMap.from_function(lambda _, __, x: x),
    "perturbed": Perturbed(FlowMap.from_function(lambda _, __, x: x), 0.5),
    "shifted": Shifted(FlowMap.from_function(lambda _, __, x: x), 0.3),
}
both_sweeps = pytest.mark.parametrize("jumps", [True, False], ids=["jumps", "steps"])


@both_sweeps
@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("event", [(2,), (3, 2, 2)])
def test_as_many_sweeps_as_parts_give_the_solver(check: Check, event: tuple[int, ...], guess: str, jumps: bool) -> None:
    x0, grid = normal(0, 3, *event), [0.0, 0.1, 0.4, 0.5, 1.0]
    found = parareal(GUESSES[guess], NONLINEAR, x0, grid, tolerance=NEVER, jumps=jumps, **FINE)
    assert bool(found.converged.all())
    check.vanishes(found.x - NONLINEAR.flow_map(**FINE).compose(grid, x0), CLOSED_FORM)


@both_sweeps
@pytest.mark.parametrize("sweeps", [1, 2, 3])
def test_each_sweep_is_an_order_of_the_error_of_the_map(check: Check, sweeps: int, jumps: bool) -> None:
    X, x0, deltas = exact_map(PROBLEM), draw(PROBLEM, 0.0, 8, seed=1), torch.tensor([0.2, 0.1, 0.05]).double()
    exact = X(0.0, 1.0, x0)
    fine: dict[str, Any] = {"method": "rk4", "steps": 40}

    def error(delta: float) -> Tensor:
        guess = Perturbed(X, delta)
        found = parareal(guess, PROBLEM.b, x0, uniform(5), tolerance=NEVER, sweeps=sweeps, jumps=jumps, **fine)
        return (found.x - exact).norm()

    check.order(torch.stack([error(delta) for delta in deltas.tolist()]), deltas, sweeps + 1, slack=0.3)


@both_sweeps
def test_an_exact_map_converges_in_the_first_sweep(check: Check, jumps: bool) -> None:
    X, x0 = exact_map(PROBLEM), draw(PROBLEM, 0.0, 5, seed=2)
    found = parareal(X, PROBLEM.b, x0, uniform(6), tolerance=1e-6, jumps=jumps, method="rk4", steps=40)
    assert found.sweeps.tolist() == [1] * 5
    check.vanishes(found.x - X(0.0, 1.0, x0), CLOSED_FORM)


@both_sweeps
def test_a_sample_that_has_converged_is_within_the_tolerance(check: Check, jumps: bool) -> None:
    x0, grid, tolerance = normal(3, 20, 2), uniform(8), 1e-5
    guess = Perturbed(NONLINEAR.flow_map(), 0.1)
    found = parareal(guess, NONLINEAR, x0, grid, tolerance=tolerance, jumps=jumps, **FINE)
    assert int(found.sweeps.max()) < 8
    check.at_most(float((found.x - NONLINEAR.flow_map(**FINE).compose(grid, x0)).abs().max()), 10 * tolerance)


@both_sweeps
def test_one_sample_in_single_precision(check: Check, jumps: bool) -> None:
    x0 = normal(4, 1, 2)
    found = [parareal(GUESSES["rest"], NONLINEAR, x, uniform(4), jumps=jumps, **FINE) for x in (x0.float(), x0)]
    check.vanishes(found[0].x - found[1].x, SINGLE, scale=1 + x0.abs().max())


@both_sweeps
def test_negative_control(check: Check, jumps: bool) -> None:
    """The field of another flow is seen, however good the guess is."""
    X, x0 = exact_map(PROBLEM), draw(PROBLEM, 0.0, 5, seed=5)

    def wrong(delta: float) -> Tensor:
        b = VelocityField.from_function(lambda t, x: PROBLEM.b(t, x) + delta * torch.cos(x))
        return parareal(X, b, x0, uniform(4), tolerance=1e-12, jumps=jumps, method="rk4", steps=20).x - X(0.0, 1.0, x0)

    check.sees(wrong(1e-3), wrong(5e-4), CLOSED_FORM)

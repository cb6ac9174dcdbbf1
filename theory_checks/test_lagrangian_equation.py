r"""Lagrangian equation: d/dt X_{s,t}(x) = b_t(X_{s,t}(x)).

Hypotheses: $b$ Lipschitz in $x$; with $X_{s,s}=\mathrm{id}$ it characterizes the flow map. The derivative is the
generic forward-mode one of the map's values, never a rule of the map's own.

Source: 2505.18825 Prop. 2.2 (8), (45).
"""

from hypothesis import given
from hypothesis import strategies as st

from flowops import Interpolant, residuals
from theory_checks.batches import batch
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, exact_map, random_gaussian
from theory_checks.controls import Perturbed, values_only
from theory_checks.strategies import Example, examples, normal, schedules, seeds
from theory_checks.verdicts import Check


def test_exact_maps_solve_it(case: Case, check: Check) -> None:
    s, _, t, x = batch(case, seed=0)
    residual = residuals.lagrangian(case.derive(case.fine), case.b, s, t, x)
    check.vanishes(residual, case.tolerance, scale=case.scale(s, t, x))


@given(e=examples(), I=schedules(), dimension=st.integers(1, 4), seed=seeds)
def test_random_schedules_and_gaussians(check: Check, e: Example, I: Interpolant, dimension: int, seed: int) -> None:
    problem, x = random_gaussian(I, dimension, seed), normal(e.seed, e.batch, dimension)
    residual = residuals.lagrangian(values_only(exact_map(problem)), problem.b, e.s, e.t, x)
    check.vanishes(residual, CLOSED_FORM, scale=1 + x.abs().max() + exact_map(problem).ds(e.s, e.t, x).abs().max())


def test_the_maps_own_rule_solves_it(case: Case, check: Check) -> None:
    x = case.states(3, 1)
    check.vanishes(residuals.lagrangian(case.X, case.b, 0.8, 0.3, x), case.tolerance, scale=case.scale(0.8, 0.3, x))


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 2).float()
    check.vanishes(residuals.lagrangian(case.X, case.b, 0.3, 0.7, x), SINGLE, scale=case.scale(0.3, 0.7, x))


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 3)
    maps = (case.derive(Perturbed(case.fine, delta)) for delta in (1e-3, 5e-4))
    wrong, half = (residuals.lagrangian(X, case.b, 0.1, 0.9, x) for X in maps)
    check.sees(wrong, half, case.tolerance)

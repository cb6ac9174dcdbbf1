r"""Eulerian equation: d/ds X_{s,t}(x) + grad X_{s,t}(x) b_s(x) = 0.

Hypotheses: $b$ continuous in $t$ and once continuously differentiable in $x$, with a continuous derivative, so that
$\nabla X$ exists (for a field that is only Lipschitz the equation holds almost everywhere in $x$). With
$X_{t,t}=\mathrm{id}$ it characterizes the flow map among maps that are once continuously differentiable in $(s,x)$. The
derivatives are the generic forward-mode ones of the map's values, never rules of the map's own.

Source: 2505.18825 Prop. 2.2 (9), (46), (93).
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowops import Interpolant, residuals
from theory_checks.batches import batch
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, exact_map, random_gaussian, size
from theory_checks.controls import Perturbed, values_only
from theory_checks.strategies import Example, examples, normal, schedules, seeds
from theory_checks.verdicts import Check

SINGLE_SOLVED = 2e-5  # float32: eight times the default tolerance


def test_exact_maps_solve_it(case: Case, check: Check) -> None:
    s, _, t, x = batch(case, seed=0)
    residual = residuals.eulerian(case.derive(case.fine), case.b, s, t, x)
    check.vanishes(residual, case.tolerance, scale=case.scale(s, t, x))


@given(e=examples(), I=schedules(), dimension=st.integers(1, 4), seed=seeds)
def test_random_schedules_and_gaussians(check: Check, e: Example, I: Interpolant, dimension: int, seed: int) -> None:
    problem, x = random_gaussian(I, dimension, seed), normal(e.seed, e.batch, dimension)
    residual = residuals.eulerian(values_only(exact_map(problem)), problem.b, e.s, e.t, x)
    check.vanishes(residual, CLOSED_FORM, scale=1 + size(x) + size(exact_map(problem).ds(e.s, e.t, x)))


def test_the_maps_own_rules_solve_it(case: Case, check: Check) -> None:
    x = case.states(3, 1)
    left, right = residuals.eulerian(case.X, case.b, 0.8, 0.3, x, parts=True)
    check.vanishes(left - right, case.tolerance, scale=1 + left.abs())
    check.vanishes(residuals.eulerian(case.X, case.b, 0.8, 0.3, x), case.tolerance, scale=1 + left.abs())


def test_diagonal_limit(case: Case, check: Check) -> None:
    x = case.states(3, 2)
    limit = case.b(0.4, x)
    check.vanishes(case.X.ds(0.4, 0.4, x) + limit, case.tolerance, scale=1 + limit.abs())


@pytest.mark.parametrize(("s", "t"), [(0.3, 0.7), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0)])
def test_single_precision(case: Case, check: Check, s: float, t: float) -> None:
    """Either side against the derivative in double precision, relative to what it is differenced from."""
    x = case.states(3, 3).float()
    exact = case.X.ds(s, t, x.double())
    scale = case.scale(s, t, x.double()) + size(exact)
    for side in residuals.eulerian(case.X, case.b, s, t, x, parts=True):
        assert side.dtype == torch.float32
        check.vanishes(side - exact, SINGLE if case.tolerance == CLOSED_FORM else SINGLE_SOLVED, scale=scale)


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 4)
    maps = (case.derive(Perturbed(case.fine, delta)) for delta in (1e-3, 5e-4))
    wrong, half = (residuals.eulerian(X, case.b, 0.1, 0.9, x) for X in maps)
    check.sees(wrong, half, case.tolerance)

r"""Inverse: X_{t,s}(X_{s,t}(x)) = x.

Hypotheses: $X$ is the flow map of a field; the map with its times swapped is then its inverse.

Source: 2505.18825 after (10).
"""

from hypothesis import given

from flowops import residuals
from theory_checks.cases import SINGLE, Case
from theory_checks.controls import Perturbed
from theory_checks.strategies import Point, points
from theory_checks.verdicts import Check


@given(p=points())
def test_swapped_times_undo_the_map(case: Case, check: Check, p: Point) -> None:
    x = case.states(p.batch, p.seed)
    check.vanishes(residuals.inverse(case.X, p.s, p.t, x), case.tolerance, scale=case.scale(p.t, p.s, x))


def test_inverse_operator(case: Case, check: Check) -> None:
    x = case.states(3, 1)
    y = case.X(0.2, 0.8, x)
    check.vanishes(case.X.inverse()(0.2, 0.8, y) - x, case.tolerance, scale=1 + x.abs())
    check.vanishes(case.X.inverse().inverse()(0.2, 0.8, x) - y, case.tolerance, scale=1 + y.abs())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 2).float()
    check.vanishes(residuals.inverse(case.X, 0.7, 0.2, x), SINGLE, scale=case.scale(0.7, 0.2, x))


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 3)
    wrong, half = (residuals.inverse(Perturbed(case.X, delta), 0.1, 0.9, x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)

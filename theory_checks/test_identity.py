r"""Identity: X_{t,t}(x) = x.

Hypotheses: none; it is the jump condition at $s=t$, and built into every parameterization $x+(t-s)v_{s,t}(x)$.

Source: 2505.18825 (4), (6).
"""

from hypothesis import given

from flowops import residuals
from theory_checks.cases import SINGLE, Case
from theory_checks.controls import Shifted
from theory_checks.strategies import Example, examples
from theory_checks.verdicts import Check


@given(e=examples())
def test_exact_maps_are_the_identity_on_the_diagonal(case: Case, check: Check, e: Example) -> None:
    x = case.states(e.batch, e.seed)
    check.vanishes(residuals.identity(case.X, e.t, x), case.tolerance, scale=1 + x.abs())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(5, 1).float()
    check.vanishes(residuals.identity(case.X, 0.3, x), SINGLE, scale=1 + x.abs())


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(5, 2)
    wrong, half = (residuals.identity(Shifted(case.X, delta), 0.4, x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)

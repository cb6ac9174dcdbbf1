r"""Liouville: log |det grad X| is the divergence integrated along the trajectory.

$$\log|\det\nabla X_{s,t}(x)|=\int_s^t(\nabla\!\cdot b_\tau)(X_{s,\tau}(x))\,d\tau$$

Hypotheses: $b$ once differentiable in $x$. The integral is a Gauss-Legendre sum, the determinant a Jacobian's.

Source: Liouville's formula; 2303.08797.
"""

from hypothesis import given

from flowops import residuals
from theory_checks.cases import SINGLE, Case
from theory_checks.controls import Perturbed
from theory_checks.strategies import Example, examples, few
from theory_checks.verdicts import Check


@few
@given(e=examples())
def test_exact_maps_satisfy_it(case: Case, check: Check, e: Example) -> None:
    batch = min(e.batch, 2)
    x = case.states(batch, e.seed)
    s, t = (q if isinstance(q, float) else q[:batch] for q in (e.s, e.t))
    legs = [(s, t, x)]
    if case.kink is not None:
        legs = [(s, case.kink, x), (case.kink, t, case.X(s, case.kink, x))]
    for start, end, y in legs:
        left, right = residuals.liouville(case.X, case.b, start, end, y, nodes=case.nodes, parts=True)
        check.vanishes(left - right, case.tolerance, scale=1 + left.abs())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(2, 1).float()
    left, right = residuals.liouville(case.X, case.b, 0.8, 0.3, x, parts=True)
    check.vanishes(left - right, SINGLE, scale=x[0].numel() + left.abs())


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(2, 2)
    maps = (case.derive(Perturbed(case.fine, delta)) for delta in (1e-3, 5e-4))
    wrong, half = (residuals.liouville(X, case.b, 0.1, 0.9, x, nodes=case.nodes) for X in maps)
    check.sees(wrong, half, case.tolerance)

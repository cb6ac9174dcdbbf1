r"""Tangent condition: d/dt X_{s,t}(x) tends to b_t(x) as s -> t, at first order.

Hypotheses: $X$ is the flow map of $b$, continuous in $(t,x)$ and locally Lipschitz in $x$, for the limit; once
continuously differentiable in $(t,x)$ for the rate,
$(X_{s,s+h}(x)-x)/h-b_s(x)=\tfrac h2(\partial_s+b_s\cdot\nabla)b_s(x)+o(h)$, whose remainder is $O(h^2)$ where these
first derivatives are Lipschitz. The first order is measured where its coefficient is not zero.

Source: 2505.18825 Lemma 2.1 (5).
"""

import pytest
import torch
from hypothesis import given

from flowops import residuals
from theory_checks.cases import SINGLE, Case, size
from theory_checks.controls import Perturbed
from theory_checks.strategies import Example, examples
from theory_checks.verdicts import Check


@given(e=examples())
def test_the_implied_field_is_the_field(case: Case, check: Check, e: Example) -> None:
    x = case.states(e.batch, e.seed)
    scale = 1 + case.b(e.t, x).abs()
    check.vanishes(residuals.tangent(case.X, case.b, e.t, x), case.tolerance, scale=scale)


def test_quotients_approach_the_field_at_first_order(case: Case, check: Check) -> None:
    x, s = case.states(4, 1), 0.3
    steps = 0.02 * 0.5 ** torch.arange(5)
    errors = torch.stack([((case.X(s, s + h, x) - x) / h - case.b(s, x)).norm() for h in steps.tolist()]).detach()
    check.order(errors, steps, expected=1.0)


@pytest.mark.parametrize("t", [0.0, 0.6, 1.0])
def test_single_precision(case: Case, check: Check, t: float) -> None:
    """The implied field and the field, each against the field in double precision."""
    x = case.states(3, 2).float()
    exact = case.b(t, x.double())
    for side in residuals.tangent(case.X, case.b, t, x, parts=True):
        assert side.dtype == torch.float32
        check.vanishes(side - exact, SINGLE, scale=1 + size(exact))


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 3)
    wrong, half = (residuals.tangent(case.derive(Perturbed(case.fine, d)), case.b, 0.6, x) for d in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)

r"""Taylor remainder: X_{s,t}(x) = x + (t-s) b_s(x) + int_s^t (t-r) a_r(X_{s,r}(x)) dr, a the material acceleration.

With $a_r=\partial_rb_r+\nabla b_r\,b_r$ the second derivative of $r\mapsto X_{s,r}(x)$ is $a_r(X_{s,r}(x))$, so that
the remainder of the first order is the integral, and
$v_{s,t}(x)=b_s(x)+\int_s^t\frac{t-r}{t-s}\,a_r(X_{s,r}(x))\,dr=b_s(x)+\tfrac{t-s}2\,a_s(x)+O((t-s)^2)$.

Hypotheses: $b$ once continuously differentiable in $(t,x)$; twice for the $O((t-s)^2)$. The integral is a
Gauss-Legendre rule on pieces that do not cross a kink of the field.

Source: 2406.07507 and 2505.18825 Lemma 2.1 (5)-(7); Taylor's formula.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField
from theory_checks.cases import SINGLE, Case, size
from theory_checks.quadrature import unit
from theory_checks.verdicts import Check

POINTS, WEIGHTS = unit(14)
TIMES = [(0.1, 0.45), (0.9, 0.6), (0.3, 0.3)]


def acceleration(b: VelocityField, t: Tensor, x: Tensor) -> Tensor:
    r"""$\partial_tb_t+\nabla b_t\,b_t$."""
    return b.dt(t, x) + b.jvp(t, x, b(t, x))


def remainder(X: FlowMap, b: VelocityField, s: float, t: float, x: Tensor) -> Tensor:
    """The integral."""
    n = len(POINTS)
    times = (s + (t - s) * POINTS).to(x.dtype).repeat_interleave(len(x))
    start = torch.full_like(times, s)
    states = X(start, times, x.repeat(n, *[1] * (x.ndim - 1))).detach()
    values = acceleration(b, times, states).detach().reshape(n, *x.shape)
    weights = (t - s) * WEIGHTS * (t - (s + (t - s) * POINTS))
    return torch.tensordot(weights.to(x.dtype), values, dims=1)


def defect(X: FlowMap, b: VelocityField, s: float, t: float, x: Tensor) -> Tensor:
    return X(s, t, x) - x - (t - s) * b(s, x) - remainder(X, b, s, t, x)


@pytest.mark.parametrize(("s", "t"), TIMES)
def test_the_remainder_is_the_integral(case: Case, check: Check, s: float, t: float) -> None:
    x = case.states(3, 1)
    scale = 1 + size(x) + size(remainder(case.X, case.b, s, t, x))
    check.vanishes(defect(case.X, case.b, s, t, x), case.tolerance, scale=scale)


def test_half_the_acceleration_is_the_next_order(case: Case, check: Check) -> None:
    x, s = case.states(3, 2), torch.tensor(0.3, dtype=torch.float64)
    steps = 0.01 * 0.5 ** torch.arange(4)
    two = case.b(s, x).detach(), acceleration(case.b, s.expand(len(x)), x).detach() / 2
    errors = []
    for h in (-steps).tolist():  # backward in time
        errors.append(((case.fine(0.3, 0.3 + h, x) - x) / h - two[0] - h * two[1]).detach().norm())
    check.order(torch.stack(errors), steps, expected=2.0)


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 3).float()
    scale = 1 + size(x) + size(remainder(case.X, case.b, 0.55, 0.95, x))
    check.vanishes(defect(case.X, case.b, 0.55, 0.95, x), SINGLE, scale=scale)


def test_negative_control(case: Case, check: Check) -> None:
    """The path of a field that is wrong by delta has another remainder."""
    x = case.states(3, 4)
    wrong, half = (defect(case.X, (1 + d) * case.b, 0.1, 0.45, x) for d in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)

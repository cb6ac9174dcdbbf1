r"""Extrapolation on the semigroup makes a map of order p one of order p + 1.

$$ Y+\frac{Y-X_{s,t}(x)}{2^p-1},\qquad Y=X_{u,t}(X_{s,u}(x)),\quad u=\tfrac{s+t}2 $$

Hypotheses: $X_{s,t}=\Phi_{s,t}+C_s(x)(t-s)^{p+1}+O((t-s)^{p+2})$ with $C$ smooth, beside the flow $\Phi$ of the field
on the diagonal of $X$. One-step methods are such maps, and any map $x+(t-s)v_{s,t}(x)$ with a smooth $v$ is one with
$p=1$, beside the flow of its own $v_{t,t}$. Weights of another order gain nothing, an exact map stays what it is, and a
map that is not the identity on its diagonal has no order from 1 on.

Source: Hairer, Norsett, Wanner, Solving ODEs I, Thm. II.4.1.
"""

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops._arguments import per_event
from flowops.maps import LearnedMap, SolverStep
from flowops.sampling import Extrapolated, extrapolated, measured_orders
from flowops.sampling.grids import uniform
from theory_checks.cases import CLOSED_FORM, SINGLE, draw, exact_map
from theory_checks.controls import Shifted
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PROBLEM = problems.REFERENCE["gaussian"](interpolants.trigonometric())
ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "heun3": 3}
STEPS = [8, 16, 32]


class Smooth(nn.Module):
    """An average velocity that no field has."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        times = per_event(s + 2 * t, x)
        return torch.sin(x + times) - x / 2 + torch.cos(3 * times)


LEARNED = LearnedMap(Smooth())


def errors(X: FlowMap, b: VelocityField, x: Tensor) -> Tensor:
    """At time 1 beside the flow of `b`, by the number of steps."""
    exact = exact_map(PROBLEM)(0.0, 1.0, x) if b is PROBLEM.b else b.flow_map()(0.0, 1.0, x)
    return torch.stack([(X.compose(uniform(n), x) - exact).norm() for n in STEPS])


def lengths() -> Tensor:
    """Of the steps."""
    return 1 / torch.tensor(STEPS).double()


@pytest.mark.parametrize("method", ORDERS)
def test_a_one_step_method_gains_an_order(check: Check, method: str) -> None:
    X, p = SolverStep(PROBLEM.b, method), ORDERS[method]
    x = draw(PROBLEM, 0.0, 8, seed=0)
    check.order(errors(Extrapolated(X, p), PROBLEM.b, x), lengths(), p + 1)
    for found in measured_orders(X, x[:2], uniform(16)):
        check.at_most(abs(found - p), 0.25)


def test_it_may_be_done_again(check: Check) -> None:
    x = draw(PROBLEM, 0.0, 8, seed=0)
    once = extrapolated(SolverStep(PROBLEM.b, "euler"), x, uniform(16))
    assert once.order == 1
    check.order(errors(Extrapolated(once, 2), PROBLEM.b, x), lengths(), 3)


@pytest.mark.parametrize("event", [(2,), (3, 2, 2)])
def test_a_learned_map_has_order_one_beside_its_own_diagonal(check: Check, event: tuple[int, ...]) -> None:
    x, b = normal(1, 4, *event), LEARNED.velocity()
    check.order(errors(LEARNED, b, x), lengths(), 1)
    check.order(errors(Extrapolated(LEARNED), b, x), lengths(), 2)


def test_the_diagonal_stays_what_it_is(check: Check) -> None:
    x, t = normal(2, 4, 2), torch.tensor([0.0, 0.3, 0.7, 1.0]).double()
    X = Extrapolated(LEARNED, 2)
    check.vanishes(X.velocity()(t, x) - LEARNED.velocity()(t, x), CLOSED_FORM)
    check.vanishes(X.dt(t, t, x) - LEARNED.velocity()(t, x), CLOSED_FORM)
    check.vanishes(X(t, t, x) - x, CLOSED_FORM)


def test_an_exact_map_stays_what_it_is(check: Check) -> None:
    X, x = exact_map(PROBLEM), draw(PROBLEM, 0.7, 3, seed=3)
    s, t = torch.tensor([0.7, 0.2, 0.5]).double(), torch.tensor([0.1, 0.9, 0.5]).double()
    check.vanishes(Extrapolated(X)(s, t, x) - X(s, t, x), CLOSED_FORM)


def test_single_precision(check: Check) -> None:
    X, x = Extrapolated(LEARNED), normal(4, 1, 2)
    check.vanishes(X(0.2, 0.9, x.float()) - X(0.2, 0.9, x), SINGLE, scale=1 + x.abs().max())


def test_weights_of_another_order_gain_nothing(check: Check) -> None:
    x = draw(PROBLEM, 0.0, 8, seed=0)
    check.order(errors(Extrapolated(SolverStep(PROBLEM.b, "euler"), 2), PROBLEM.b, x), lengths(), 1)
    check.order(errors(Extrapolated(SolverStep(PROBLEM.b, "heun"), 1), PROBLEM.b, x), lengths(), 2)


def test_what_has_no_order_is_refused() -> None:
    x = draw(PROBLEM, 0.0, 8, seed=0)
    for X in (Shifted(exact_map(PROBLEM), 1e-2), FlowMap.from_function(lambda _, __, x: x)):
        with pytest.raises(ValueError, match="`X` must have a defect of one whole order to be extrapolated, got"):
            extrapolated(X, x, uniform(8))

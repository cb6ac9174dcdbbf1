r"""Lie and Strang splitting have orders 1 and 2, and are exact where the flows commute.

$$B_{t,t+h}\circ A_{t,t+h}=X_{t,t+h}+\tfrac{h^2}2[a,b]+O(h^3),\qquad
A_{m,t+h}\circ B_{t,t+h}\circ A_{t,m}=X_{t,t+h}+O(h^3),\quad m=t+\tfrac h2$$

Hypotheses: $a$, $b$ smooth; they may depend on time. Compositions of symplectic maps are symplectic, and Strang's
splitting is its own inverse with the times exchanged.

Source: Strang 1968; Hairer, Lubich, Wanner, Geometric Numerical Integration, §II.5, §III.5.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, problems, residuals
from flowops.fields import lie_bracket
from flowops.maps import Splitting
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PENDULUM = problems.pendulum(1.2)
a = VelocityField.from_function(lambda _, x: torch.stack([x[:, 1], 0 * x[:, 1]], 1))
b = VelocityField.from_function(lambda _, x: torch.stack([0 * x[:, 0], -1.44 * x[:, 0].sin()], 1))
DRIFT = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * a(s, x))
KICK = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * b(s, x))
ORDERS = {"lie": 1.0, "strang": 2.0}
schemes = pytest.mark.parametrize("scheme", ORDERS)


def errors(A: FlowMap, B: FlowMap, exact: FlowMap, scheme: str, steps: Tensor, x: Tensor) -> Tensor:
    """At the end of an interval, by the number of steps."""
    maps = (Splitting(A, B, steps=int(n), scheme=scheme) for n in steps)
    return torch.stack([(X(0.1, 1.3, x) - exact(0.1, 1.3, x)).norm() for X in maps])


@schemes
@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_on_the_pendulum(scheme: str, swapped: bool, check: Check) -> None:
    steps, x = torch.tensor([16, 32, 64]), normal(0, 5, 2)
    A, B = (KICK, DRIFT) if swapped else (DRIFT, KICK)
    check.order(errors(A, B, PENDULUM.X, scheme, steps, x), 1 / steps, ORDERS[scheme])


@schemes
def test_the_order_for_fields_that_depend_on_time(scheme: str, check: Check) -> None:
    r"""$\dot x=\cos(3t)x+t^2$, whose terms have closed forms, as has their sum by quadrature of Duhamel's formula."""
    grow = FlowMap.from_function(lambda s, t, x: x * ((torch.sin(3 * t) - torch.sin(3 * s)) / 3).exp()[:, None])
    push = FlowMap.from_function(lambda s, t, x: x + ((t**3 - s**3) / 3)[:, None])
    both = VelocityField.from_function(lambda t, x: torch.cos(3 * t)[:, None] * x + (t**2)[:, None])
    steps, x = torch.tensor([16, 32, 64]), normal(1, 5, 1)
    check.order(errors(grow, push, both.flow_map(), scheme, steps, x), 1 / steps, ORDERS[scheme])


def test_a_step_of_lie_is_wrong_by_half_the_bracket(check: Check) -> None:
    x, step = normal(2, 5, 2), Splitting(DRIFT, KICK, scheme="lie")
    bracket, sizes = lie_bracket(a, b)(0.0, x), torch.tensor([0.08, 0.04, 0.02]).double()
    rest = [(step(0.0, h, x) - PENDULUM.X(0.0, h, x) - h**2 / 2 * bracket).norm() for h in sizes.tolist()]
    check.order(torch.stack(rest), sizes, 3.0)


@schemes
@pytest.mark.parametrize("steps", [1, 3])
def test_flows_that_commute_are_split_exactly(scheme: str, steps: int, check: Check) -> None:
    turn, grow = problems.rotation(2.0), problems.linear([[0.7, 0.0], [0.0, 0.7]])
    both = problems.linear([[0.7, -2.0], [2.0, 0.7]]).X
    x = normal(3, 3, 2)
    s, t = torch.tensor([0.1, 0.9, 0.4]).double(), torch.tensor([0.8, 0.3, 0.4]).double()
    check.vanishes(Splitting(turn.X, grow.X, steps=steps, scheme=scheme)(s, t, x) - both(s, t, x), CLOSED_FORM)


def test_strang_is_reversible_and_lie_is_not(check: Check) -> None:
    x = normal(4, 4, 2)
    check.vanishes(residuals.inverse(Splitting(DRIFT, KICK, steps=3), 0.2, 0.9, x), CLOSED_FORM)
    assert residuals.inverse(Splitting(DRIFT, KICK, steps=3, scheme="lie"), 0.2, 0.9, x).abs().max() > 1e-2


@schemes
def test_both_are_symplectic_and_keep_energy_to_their_order(scheme: str, check: Check) -> None:
    x, steps = normal(5, 4, 2), torch.tensor([16, 32, 64])
    maps = [Splitting(DRIFT, KICK, steps=int(n), scheme=scheme) for n in steps]
    check.vanishes(residuals.symplecticity(maps[0], 0.0, 1.5, x), CLOSED_FORM)
    drifts = [residuals.energy(X, PENDULUM.b.hamiltonian, 0.0, 1.5, x).norm() for X in maps]
    check.order(torch.stack(drifts), 1 / steps, ORDERS[scheme])


@schemes
def test_single_precision(scheme: str, check: Check) -> None:
    x, X = normal(6, 4, 2), Splitting(DRIFT, KICK, steps=8, scheme=scheme)
    check.vanishes(X(0.1, 0.9, x.float()) - X(0.1, 0.9, x), SINGLE)


@schemes
def test_negative_control(scheme: str, check: Check) -> None:
    r"""Flows that commute up to $\delta$ are split with an error of size $\delta$."""
    x, turn = normal(7, 4, 2), torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=torch.float64)
    skew = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)

    def wrong(delta: float) -> Tensor:
        A, B, C = (problems.linear(m).X for m in (turn, delta * skew, turn + delta * skew))
        return Splitting(A, B, scheme=scheme)(0.0, 0.7, x) - C(0.0, 0.7, x)

    check.sees(wrong(1e-3), wrong(5e-4), CLOSED_FORM)

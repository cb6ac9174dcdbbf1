r"""The material acceleration is the second derivative of trajectories: it vanishes where one Euler step is exact.

$$\partial_t^2X_{s,t}(x)=(\partial_tb_t+\nabla b_t\,b_t)(X_{s,t}(x))$$

Hypotheses: $b$ continuously differentiable. The left side is two forward derivatives of the map's values.

Source: Batchelor, An Introduction to Fluid Dynamics, §2.1.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops._derivatives import value_and_jvp
from flowops.fields import acceleration
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, named_cases
from theory_checks.controls import values_only
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

CASES = named_cases(
    "linear", "rotation", "logistic", "time-dependent", "pendulum", "gaussian trigonometric", "gaussian edm"
)
each = pytest.mark.parametrize("known", CASES, ids=lambda c: c.name)
S = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
T = torch.tensor([0.8, 0.3, 0.4], dtype=torch.float64)


def bend(X: FlowMap, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""$\partial_t^2X_{s,t}(x)$."""
    plain = values_only(X)
    return value_and_jvp(lambda q: plain.dt(s, q, x), (t,), (torch.ones_like(t),))[1]


@each
def test_trajectories_bend_by_it(known: Case, check: Check) -> None:
    x = known.states(3, 1)
    left = bend(known.X, S, T, x)
    check.vanishes(left - acceleration(known.b)(T, known.X(S, T, x)), 10 * CLOSED_FORM, scale=1 + left.abs().max())


def test_it_is_that_of_textbooks(check: Check) -> None:
    x = normal(2, 4, 2)
    check.vanishes(acceleration(problems.rotation(2.0).b)(0.3, x) + 4 * x, CLOSED_FORM)  # centripetal
    q, p = x.unbind(1)
    pendulum = torch.stack([-1.44 * q.sin(), -1.44 * p * q.cos()], 1)
    check.vanishes(acceleration(problems.pendulum(1.2).b)(0.3, x) - pendulum, CLOSED_FORM)


def test_it_vanishes_where_an_euler_step_is_exact(check: Check) -> None:
    """Straight lines at constant speed: the linear interpolant to one point, $b_t(x)=(c-x)/(1-t)$."""
    c = torch.tensor([1.0, -2.0], dtype=torch.float64)
    b = VelocityField.from_function(lambda t, x: (c - x) / (1 - t)[:, None])
    x = normal(3, 4, 2)
    check.vanishes(acceleration(b)(0.4, x), CLOSED_FORM)
    step = x + 0.5 * b(0.4, x)
    check.vanishes(b.flow_map()(0.4, 0.9, x) - step, CLOSED_FORM)


def test_an_euler_step_is_wrong_by_half_of_it(check: Check) -> None:
    problem = problems.REFERENCE["gaussian"](interpolants.trigonometric())
    x = problem.sample(0.4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([0.04, 0.02, 0.01]).double()
    errors = [
        (problem.X(0.4, 0.4 + h, x) - x - h * problem.b(0.4, x) - h**2 / 2 * acceleration(problem.b)(0.4, x)).norm()
        for h in steps.tolist()
    ]
    check.order(torch.stack(errors), steps, 3.0)


@pytest.mark.parametrize("event", [(), (2, 2, 2)])
def test_events_of_any_shape(event: tuple[int, ...], check: Check) -> None:
    b, x = SmoothField(event, seed=4), normal(4, 2, *event)
    h = 1e-5
    ahead = (b(0.4 + h, x + h * b(0.4, x)) - b(0.4 - h, x - h * b(0.4, x))) / (2 * h)
    check.vanishes(acceleration(b)(0.4, x) - ahead, 1e-8, scale=1 + ahead.abs().max())


def test_single_precision(check: Check) -> None:
    for known in CASES:
        x = known.states(3, 5)
        exact = acceleration(known.b)(0.4, x)
        check.vanishes(acceleration(known.b)(0.4, x.float()) - exact, SINGLE, scale=1 + exact.abs().max())


def test_negative_control(check: Check) -> None:
    for known in CASES:
        x = known.states(3, 6)
        left, y = bend(known.X, S, T, x), known.X(S, T, x)
        wrong, half = (
            left - acceleration(known.b + delta * SmoothField(known.event, 1))(T, y) for delta in (1e-4, 5e-5)
        )
        check.sees(wrong, half, CLOSED_FORM)

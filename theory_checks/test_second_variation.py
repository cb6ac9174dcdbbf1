r"""The second derivative of a flow map is that of its closed form, and solves the second variational equation.

$$\dot w=\nabla^2b_\tau(x_\tau)[\nabla X_{s,\tau}u,\nabla X_{s,\tau}v]+\nabla b_\tau(x_\tau)w,\qquad
\nabla^2X_{s,t}[u,v]=\nabla^2X_{r,t}[\nabla X_{s,r}u,\nabla X_{s,r}v]+\nabla X_{r,t}\nabla^2X_{s,r}[u,v]$$

Hypotheses: $b$ twice continuously differentiable in $x$.

Source: Hairer, Nørsett, Wanner, Solving ODEs I, §I.14.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import SolutionOperator, VelocityField, problems
from flowops.maps import second_derivative
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED, Case, named_cases
from theory_checks.controls import Perturbed
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

CASES = named_cases("linear", "logistic", "time-dependent", "pendulum", "gaussian trigonometric")
each = pytest.mark.parametrize("known", CASES, ids=lambda c: c.name)
S = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
T = torch.tensor([0.8, 0.3, 0.4], dtype=torch.float64)  # forward, backward, at rest


def directions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two of them."""
    return normal(21, *x.shape), normal(22, *x.shape)


def test_it_is_the_closed_form_of_logistic_growth(check: Check) -> None:
    problem = problems.logistic(1.5)
    x = torch.linspace(0.1, 0.9, 3, dtype=torch.float64)[:, None]
    u, v = directions(x)
    g = torch.exp(1.5 * (T - S))[:, None]
    exact = -2 * g * (g - 1) / (1 + x * (g - 1)) ** 3 * u * v
    check.vanishes(second_derivative(problem.X, S, T, x, u, v) - exact, CLOSED_FORM)
    check.vanishes(second_derivative(problem.b.flow_map(), S, T, x, u, v) - exact, SOLVED)


@pytest.mark.parametrize("options", [{}, {"method": "rk4", "steps": 40}], ids=["adaptive", "fixed steps"])
def test_that_of_a_solved_map_is_that_of_the_exact_one(options: dict[str, Any], check: Check) -> None:
    problem = problems.pendulum(1.2)
    x = normal(0, 3, 2)
    exact = second_derivative(problem.X, S, T, x, *directions(x))
    solved = second_derivative(problem.b.flow_map(**options), S, T, x, *directions(x))
    check.vanishes(solved - exact, SOLVED, scale=1 + exact.abs().max())


class SecondVariation(VelocityField):
    """The second variational equation as a field on `[batch, 4, d]`: the state, its two variations and the second."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        x, u, v, w = z.unbind(1)
        h = 1e-4  # the second derivative of the field by differences of its first
        bend = (self.b.jvp(t, x + h * v, u) - self.b.jvp(t, x - h * v, u)) / (2 * h)
        return torch.stack([self.b(t, x), self.b.jvp(t, x, u), self.b.jvp(t, x, v), bend + self.b.jvp(t, x, w)], 1)


def test_it_solves_the_second_variational_equation(check: Check) -> None:
    b, x = SmoothField((2,), seed=5), normal(1, 3, 2)
    u, v = directions(x)
    start = torch.stack([x, u, v, torch.zeros_like(x)], 1)
    # Runge-Kutta methods and variations commute: no error of theirs is seen.
    solved = SolutionOperator(SecondVariation(b), method="rk4", steps=4)(S, T, start)[:, 3].detach()
    found = second_derivative(SolutionOperator(b, method="rk4", steps=4), S, T, x, u, v)
    check.vanishes(found - solved, SOLVED, scale=1 + solved.abs().max())


@each
def test_it_is_symmetric_and_composes(known: Case, check: Check) -> None:
    x = known.states(3, 2)
    u, v = directions(x)
    whole = second_derivative(known.X, S, T, x, u, v)
    check.vanishes(whole - second_derivative(known.X, S, T, x, v, u), CLOSED_FORM, scale=1 + whole.abs().max())
    r, X = 0.5, known.X
    bent = second_derivative(X, r, T, X(S, r, x), X.jvp(S, r, x, u), X.jvp(S, r, x, v))
    carried = X.jvp(r, T, X(S, r, x), second_derivative(X, S, r, x, u, v))
    check.vanishes(whole - bent - carried, 10 * CLOSED_FORM, scale=1 + whole.abs().max())


@each
def test_differences_of_the_first_converge_to_it(known: Case, check: Check) -> None:
    x = known.states(3, 3)
    u, v = directions(x)
    exact = second_derivative(known.X, S, T, x, u, v)
    steps = torch.tensor([0.04, 0.02, 0.01]).double()
    errors = torch.stack(
        [((known.X.jvp(S, T, x + h * v, u) - known.X.jvp(S, T, x - h * v, u)) / (2 * h) - exact).norm() for h in steps]
    )
    if known.name in ("linear", "gaussian trigonometric", "time-dependent"):
        check.vanishes(torch.cat([errors, exact.flatten()]), CLOSED_FORM)  # affine
    else:
        check.order(errors, steps, 2.0)


def test_images_and_one_sample(check: Check) -> None:
    b, x = SmoothField((1, 2, 2), seed=6), normal(4, 1, 1, 2, 2)
    X = SolutionOperator(b, method="rk4", steps=3)
    u, v = directions(x)
    found, h = second_derivative(X, 0.2, 0.7, x, u, v), 1e-4
    check.vanishes(found - (X.jvp(0.2, 0.7, x + h * v, u) - X.jvp(0.2, 0.7, x - h * v, u)) / (2 * h), 1e-6)


def test_single_precision(check: Check) -> None:
    X, x = problems.pendulum(1.2).X, normal(5, 3, 2)
    u, v = directions(x)
    exact = second_derivative(X, S, T, x, u, v)
    found = second_derivative(X, S, T, x.float(), u.float(), v.float())
    check.vanishes(found - exact, SINGLE, scale=1 + exact.abs().max())


def test_negative_control(check: Check) -> None:
    for known in CASES:
        x = known.states(3, 6)
        u, v = directions(x)
        exact = second_derivative(known.X, 0.1, 0.9, x, u, v)
        wrong, half = (
            second_derivative(Perturbed(known.X, delta), 0.1, 0.9, x, u, v) - exact for delta in (1e-3, 5e-4)
        )
        check.sees(wrong, half, known.tolerance)

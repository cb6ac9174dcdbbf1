"""Gradients of a solve with respect to parameters, states and times, through the steps and by the adjoint equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from tests.examples import Coupled, Cubic, CubicFlow, central_difference, mild, normal, uniform

# The shape checks take three times as long as these solves; the solves of the other files run under them.
pytestmark = pytest.mark.usefixtures("unchecked")

Quantity = Callable[[SolutionOperator, Tensor, Tensor, Tensor], Tensor]

QUANTITIES: dict[str, Quantity] = {
    "value": lambda X, s, t, x: X(s, t, x),
    "dt": lambda X, s, t, x: X.dt(s, t, x),
    "ds": lambda X, s, t, x: X.ds(s, t, x),
    "jvp": lambda X, s, t, x: X.jvp(s, t, x, torch.cos(x)),
    "vjp": lambda X, s, t, x: X.vjp(s, t, x, torch.cos(x)),
    "average_velocity": lambda X, s, t, x: X.average_velocity(s, t, x),
    "log_abs_det": lambda X, s, t, x: X.log_abs_det(s, t, x),
    "compose": lambda X, s, t, x: X.compose([s, 0.5, t], x),
}


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=list(QUANTITIES))
def test_both_ways_agree_with_differences(quantity: Quantity) -> None:
    operands = (Coupled((2,)).weight.detach(), uniform(3), uniform(3, seed=1), normal(3, 2))
    directions = [normal(*z.shape, seed=8 + k) for k, z in enumerate(operands)]

    def solve(weight: Tensor, s: Tensor, t: Tensor, x: Tensor, **solver: Any) -> tuple[Tensor, nn.Parameter]:
        b = Coupled((2,))
        b.weight = nn.Parameter(weight.detach())
        value = quantity(SolutionOperator(b, **solver), s, t, x)
        return (value * normal(*value.shape, seed=7)).sum(), b.weight

    def gradients(adjoint: bool) -> tuple[Tensor, ...]:
        leaves = [z.clone().requires_grad_() for z in operands[1:]]
        value, weight = solve(operands[0], *leaves, adjoint=adjoint, rtol=1e-9, atol=1e-9)
        return torch.autograd.grad(value, [weight, *leaves])

    def along_all(h: Tensor) -> Tensor:
        moved = (z + h * u for z, u in zip(operands, directions, strict=True))
        return solve(*moved, rtol=1e-11, atol=1e-11)[0].detach()

    steps, adjoint = gradients(False), gradients(True)
    for one, other in zip(steps, adjoint, strict=True):
        assert_close(one, other, rtol=1e-6, atol=1e-6)
    derivative = sum((g * u).sum() for g, u in zip(steps, directions, strict=True))
    difference = central_difference(along_all, torch.zeros(()).double(), torch.ones(()).double(), 1e-3)
    assert_close(derivative, difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("chunk", [2, 100])
def test_gradients_agree_with_the_closed_form(adjoint: bool, chunk: int) -> None:
    operands = [uniform(5).requires_grad_(), uniform(5, seed=1).requires_grad_(), mild(5, 2, 2).requires_grad_()]
    w = normal(5, 2, 2, seed=2)
    X = SolutionOperator(Cubic(), adjoint=adjoint, chunk=chunk)
    s, t, x = operands
    for times in ((s, t), (t, s)):
        gradients = torch.autograd.grad((w * X(*times, x)).sum(), operands)
        expected = torch.autograd.grad((w * CubicFlow()(*times, x)).sum(), operands)
        for gradient, reference in zip(gradients, expected, strict=True):
            assert_close(gradient, reference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_reach_conditions_and_factors(adjoint: bool) -> None:
    class Pulled(VelocityField):
        def forward(self, t: Tensor, x: Tensor, *, target: Tensor) -> Tensor:
            return target[:, None] - x

    c, target = uniform(4).requires_grad_(), normal(4).requires_grad_()
    b = (c * Pulled()).given(target=target)
    x, t = normal(4, 2), torch.tensor([0.2, 0.5, 0.7, 1.0]).double()
    for chunk in (2, 100):
        value = SolutionOperator(b, adjoint=adjoint, chunk=chunk)(0.0, t, x)
        decay = torch.exp(-c * t)[:, None]
        exact = target[:, None] + decay * (x - target[:, None])
        assert_close(value, exact, rtol=1e-8, atol=1e-8)
        gradients = torch.autograd.grad(value.sum(), [c, target])
        for gradient, reference in zip(gradients, torch.autograd.grad(exact.sum(), [c, target]), strict=True):
            assert_close(gradient, reference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_parameter_used_twice_is_counted_once(adjoint: bool) -> None:
    b = Coupled((2,))
    x = normal(3, 2)
    (twice,) = torch.autograd.grad(SolutionOperator(b + b, adjoint=adjoint)(0.0, 0.5, x).sum(), b.weight)
    (once,) = torch.autograd.grad(SolutionOperator(2.0 * b)(0.0, 0.5, x).sum(), b.weight)
    assert_close(twice, once, rtol=1e-7, atol=1e-7)
    shared = uniform(3).requires_grad_()
    (both,) = torch.autograd.grad(SolutionOperator(shared * b + shared * b, adjoint=adjoint)(0.0, 0.5, x).sum(), shared)
    (sum_,) = torch.autograd.grad(SolutionOperator((2 * shared) * b)(0.0, 0.5, x).sum(), shared)
    assert_close(both, sum_, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("adjoint", [False, True])
def test_frozen_parameters_and_no_grad(adjoint: bool) -> None:
    b = Coupled((2,))
    b.drift.requires_grad_(False)
    X, x = SolutionOperator(b, adjoint=adjoint), normal(3, 2)
    X(0.0, 1.0, x).sum().backward()
    assert b.drift.grad is None
    assert b.weight.grad is not None
    with torch.no_grad():
        assert not X(0.0, 1.0, x).requires_grad
    assert not SolutionOperator(Cubic(), adjoint=adjoint)(0.0, 1.0, x).requires_grad


def test_second_derivatives_through_the_steps() -> None:
    x = mild(3, 2).requires_grad_()
    for X in (SolutionOperator(Cubic(), rtol=1e-10, atol=1e-10), SolutionOperator(Cubic(), method="rk4")):
        (gradient,) = torch.autograd.grad(X(0.0, 1.0, x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), x)
        (first,) = torch.autograd.grad(CubicFlow()(0.0, 1.0, x).sum(), x, create_graph=True)
        (expected,) = torch.autograd.grad(first.sum(), x)
        assert_close(second, expected, rtol=1e-6, atol=1e-6)


def test_the_vjp_of_a_contraction_is_not_solved_backward() -> None:
    r"""Back in time the flow of $-40\sinh x$ would magnify the error of the state by $e^{40}$."""
    b = VelocityField.from_function(lambda _, x: -40 * torch.sinh(x))
    x, w, t = mild(4, 2), normal(4, 2, seed=1), torch.tensor([0.01, 0.1, 0.5, 1.0]).double()
    found = SolutionOperator(b).vjp(0.0, t, x, w)
    x.requires_grad_()
    exact = 2 * torch.atanh(torch.tanh(x / 2) * torch.exp(-40 * t)[:, None])
    assert_close(found, torch.autograd.grad((w * exact).sum(), x)[0], rtol=1e-8, atol=1e-9)

"""Fixed-step methods: measured orders, per-sample steps, time direction, and samples that stand still."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops._solvers.fixed import TABLEAUS, integrate_fixed
from tests.examples import Cubic, CubicFlow, mild, normal, uniform


@pytest.mark.parametrize("method", TABLEAUS)
def test_the_error_falls_at_the_order_of_the_method(method: str) -> None:
    s, t, x = torch.tensor([0.0, 1.0]).double(), torch.tensor([1.0, 0.1]).double(), mild(2, 5)
    exact = CubicFlow()(s, t, x)
    errors = [(SolutionOperator(Cubic(), method=method, steps=n)(s, t, x) - exact).abs().max() for n in (24, 48)]
    assert abs(math.log2(errors[0] / errors[1]) - TABLEAUS[method].order) < 0.2
    assert errors[1] > 1e-13


@pytest.mark.parametrize("method", TABLEAUS)
def test_polynomials_in_time_are_integrated_exactly_up_to_the_order(method: str) -> None:
    degree = TABLEAUS[method].order - 1
    s, t = torch.tensor([0.2, 0.9]).double(), torch.tensor([1.0, 0.3]).double()
    x = torch.zeros(2).double()
    b = VelocityField.from_function(lambda tau, y: (degree + 1) * tau**degree + 0 * y)
    value = SolutionOperator(b, method=method, steps=1)(s, t, x)
    assert_close(value, t ** (degree + 1) - s ** (degree + 1))


def test_one_euler_step_by_hand() -> None:
    value = SolutionOperator(Cubic(), method="euler", steps=1)(0.0, 0.5, torch.tensor([2.0]).double())
    assert_close(value, torch.tensor([0.0]).double())  # 2 - 0.5 * 0.5 * 8


def test_a_hundred_steps_unless_told_otherwise() -> None:
    calls = 0

    def field(_: Tensor, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x

    SolutionOperator(VelocityField.from_function(field), method="midpoint")(0.0, 1.0, normal(2))
    assert calls == 200


def test_every_sample_takes_its_own_steps() -> None:
    s, t, x = uniform(5), uniform(5, seed=1), mild(5, 3)
    X = SolutionOperator(Cubic(), method="heun3", steps=7)
    together = X(s, t, x)
    for i in range(5):
        assert_close(together[i : i + 1], X(s[i].item(), t[i].item(), x[i : i + 1]))


def test_a_field_is_never_asked_outside_the_interval() -> None:
    s, t, x = uniform(5), uniform(5, seed=1), normal(5)
    low, high = torch.minimum(s, t), torch.maximum(s, t)
    for tableau in TABLEAUS.values():
        times: list[Tensor] = []

        def rhs(tau: Tensor, y: Tensor, times: list[Tensor] = times) -> Tensor:
            times.append(tau)
            return y

        integrate_fixed(rhs, x[:, None], s, t, tableau, 9)
        assert all(((low <= tau) & (tau <= high)).all() for tau in times)


def test_samples_that_stand_still_are_returned_exactly_whatever_the_field() -> None:
    singular = VelocityField.from_function(lambda t, x: x / (t - 1))
    s, t, x = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 0.5]).double(), normal(2)
    value = SolutionOperator(singular, method="rk4")(s, t, x)
    assert torch.equal(value[0], x[0])
    assert_close(value[1], x[1] / 2, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", TABLEAUS)
def test_the_slope_in_the_times_is_not_lost_where_they_are_equal(method: str) -> None:
    x, s, t = mild(3), uniform(3).requires_grad_(), uniform(3).requires_grad_()
    value = SolutionOperator(Cubic(), method=method, steps=3)(s, t, x)
    assert torch.equal(value, x)
    by_s, by_t = torch.autograd.grad(value.sum(), [s, t])
    assert_close(by_t, Cubic()(t, x))
    assert_close(by_s, -Cubic()(t, x))

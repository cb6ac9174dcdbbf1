"""One step of a one-step method: the fixed-step solve of one step, to its order, with gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops._solvers.fixed import TABLEAUS
from flowops.maps import SolverStep
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, mild, normal, uniform


@pytest.mark.parametrize("method", TABLEAUS)
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_it_is_the_solve_of_one_step(method: str, event: tuple[int, ...], batch: int) -> None:
    b, s, t, x = Coupled(event), uniform(batch), uniform(batch, seed=1), normal(batch, *event)
    assert_close(SolverStep(b, method)(s, t, x), SolutionOperator(b, method=method, steps=1)(s, t, x))


def test_one_euler_step_is_a_straight_line() -> None:
    b, s, t, x = Coupled((3,)), uniform(4), uniform(4, seed=1), normal(4, 3)
    assert_close(SolverStep(b, "euler")(s, t, x), x + (t - s)[:, None] * b(s, x))


@pytest.mark.parametrize("method", TABLEAUS)
def test_its_error_falls_with_its_order(method: str) -> None:
    x, lengths = mild(4, 2), torch.tensor([0.1, 0.05]).tolist()
    errors = [
        (SolverStep(Cubic(), method)(0.3, 0.3 + h, x) - CubicFlow()(0.3, 0.3 + h, x)).abs().max() for h in lengths
    ]
    assert torch.log2(errors[0] / errors[1]).item() == pytest.approx(TABLEAUS[method].order + 1, abs=0.35)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_gradients_are_those_of_the_solve(method: str) -> None:
    b = Coupled((3,))
    leaves = [z.requires_grad_() for z in (uniform(4), uniform(4, seed=1), normal(4, 3))]
    own, solved = SolverStep(b, method), SolutionOperator(b, method=method, steps=1)
    found = torch.autograd.grad(own(*leaves).square().sum(), [*leaves, b.weight])
    for gradient, expected in zip(
        found, torch.autograd.grad(solved(*leaves).square().sum(), [*leaves, b.weight]), strict=True
    ):
        assert_close(gradient, expected)


def test_a_step_of_no_length_returns_the_state_even_where_the_field_is_not_finite() -> None:
    def singular(t: Tensor, x: Tensor) -> Tensor:
        return x / (t - 0.5)[:, None]

    x = normal(3, 2)
    assert torch.equal(SolverStep(VelocityField.from_function(singular), "heun")(0.5, 0.5, x), x)


def test_an_adaptive_method_has_no_single_step() -> None:
    sentence = '`method` must be one of euler, midpoint, heun, heun3, rk4, got "dopri5"'
    with pytest.raises(ValueError, match=sentence):
        SolverStep(Cubic(), "dopri5")

"""Splittings: grids of steps, calls, conditions, misfits refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator, VelocityField, problems
from flowops.maps import Splitting
from tests.examples import Cubic, CubicFlow, mild, normal, over, uniform


class Recorded(FlowMap):
    """A map that keeps the times it was called with."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X, self.calls = X, list[tuple[float, float]]()

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        self.calls.append((float(s[0]), float(t[0])))
        return self.X(s, t, x)


GROW = FlowMap.from_function(lambda s, t, x: x * over((t - s).exp(), x))


def test_a_half_step_of_the_first_map_and_the_next_one_are_one() -> None:
    A, B = Recorded(GROW), Recorded(GROW)
    Splitting(A, B, steps=2)(0.0, 1.0, torch.ones(1, 1).double())
    assert A.calls == [(0.0, 0.25), (0.25, 0.75), (0.75, 1.0)]
    assert B.calls == [(0.0, 0.5), (0.5, 1.0)]


def test_the_steps_of_lie() -> None:
    A, B = Recorded(GROW), Recorded(GROW)
    Splitting(A, B, steps=2, scheme="lie")(1.0, 0.0, torch.ones(1, 1).double())
    assert A.calls == B.calls == [(1.0, 0.5), (0.5, 0.0)]


@pytest.mark.parametrize("scheme", ["lie", "strang"])
@pytest.mark.parametrize("event", [(), (2, 1, 2)])
def test_one_time_per_sample_and_any_event(scheme: str, event: tuple[int, ...]) -> None:
    s, t, x = uniform(3), uniform(3, seed=1), mild(3, *event)
    X = Splitting(GROW, CubicFlow(), steps=3, scheme=scheme)
    each = torch.cat([X(float(a), float(b), y[None]) for a, b, y in zip(s, t, x, strict=True)])
    assert_close(X(s, t, x), each)
    assert_close(X(t, t, x), x)


def test_it_tends_to_the_solution_of_the_sum() -> None:
    both = Cubic() + VelocityField.from_function(lambda _, x: x)
    x = mild(4, 2)
    assert_close(Splitting(GROW, CubicFlow(), steps=400)(0.0, 1.0, x), both.flow_map()(0.0, 1.0, x), rtol=0, atol=1e-5)


def test_its_implied_field_is_the_sum() -> None:
    x = mild(4, 2)
    for scheme in ("lie", "strang"):
        X = Splitting(GROW, CubicFlow(), scheme=scheme)
        assert_close(X.velocity()(0.3, x), Cubic()(0.3, x) + x)


def test_conditions_reach_both_maps() -> None:
    faster = FlowMap.from_function(lambda s, t, x, *, label=0.0: x * torch.exp(over((t - s) * label, x)))
    X, label, x = Splitting(faster, faster), uniform(3), normal(3, 2)
    assert_close(X.given(label=label)(0.0, 1.0, x), x * torch.exp(2 * over(label, x)))


def test_parameters_learn_through_it() -> None:
    b = problems.rotation(1.0).b
    weight = torch.nn.Parameter(torch.ones(()).double())
    scaled = SolutionOperator(weight * b, method="rk4", steps=4)
    Splitting(scaled, GROW)(0.0, 1.0, normal(2, 2)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs() > 0


@pytest.mark.usefixtures("unchecked")
def test_misfits_are_refused() -> None:
    with pytest.raises(TypeError, match="`B` must be a FlowMap, got Cubic; pass b.flow_map"):
        Splitting(GROW, Cubic())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='`scheme` must be "strang" or "lie", got \'yoshida\'; pass one of the two'):
        Splitting(GROW, GROW, scheme="yoshida")
    with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1, got 0"):
        Splitting(GROW, GROW, steps=0)

"""The map with its times swapped, and the field that a map implies."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator
from tests.examples import EVENT_IDS, EVENTS, Cubic, CubicFlow, assert_near, mild, normal, uniform


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_the_inverse_undoes_a_flow(event: tuple[int, ...], batch: int) -> None:
    X, s, t, x = CubicFlow(), uniform(batch), uniform(batch, seed=1), mild(batch, *event)
    assert_close(X.inverse()(s, t, X(s, t, X(t, s, x))), X(t, s, x))
    assert_close(X.inverse()(s, t, x), X(t, s, x))


@pytest.mark.parametrize("X", [CubicFlow(), SolutionOperator(Cubic())], ids=["closed form", "solved"])
def test_its_derivatives_are_those_of_the_swapped_closed_form(X: FlowMap) -> None:
    s, t, x = uniform(4), uniform(4, seed=1), mild(4, 3)
    u = normal(4, 3, seed=2)
    swapped = FlowMap.from_function(lambda s, t, x: CubicFlow()(t, s, x))
    inverse = X.inverse()
    for value, expected in zip(inverse.value_and_dt(s, t, x), swapped.value_and_dt(s, t, x), strict=True):
        assert_near(value, expected, 1e-8)
    assert_near(inverse.dt(s, t, x), swapped.dt(s, t, x), 1e-8)
    assert_near(inverse.ds(s, t, x), swapped.ds(s, t, x), 1e-8)
    assert_near(inverse.jvp(s, t, x, u), swapped.jvp(s, t, x, u), 1e-8)
    assert_near(inverse.vjp(s, t, x, u), swapped.vjp(s, t, x, u), 1e-8)
    assert_near(inverse.material_derivative(s, t, x, u), swapped.material_derivative(s, t, x, u), 1e-8)
    assert_near(inverse.jacobian(s, t, x), swapped.jacobian(s, t, x), 1e-8)
    assert_near(inverse.log_abs_det(s, t, x), swapped.log_abs_det(s, t, x), 1e-8)
    assert_near(inverse.average_velocity(s, t, x), swapped.average_velocity(s, t, x), 1e-8)


def test_twice_inverted_is_the_map_itself() -> None:
    X = CubicFlow()
    assert X.inverse().inverse() is X


def test_the_implied_field_of_a_flow_is_its_field() -> None:
    t, x = uniform(4), mild(4, 3)
    b = CubicFlow().velocity()
    assert_close(b(t, x), Cubic()(t, x))
    assert_close(b.jvp(t, x, x), Cubic().jvp(t, x, x))
    assert_close(b.dt(t, x), Cubic().dt(t, x))
    assert_close(b.divergence(t, x), Cubic().divergence(t, x))


def test_the_implied_field_of_an_inverse_runs_backward() -> None:
    t, x = uniform(4), mild(4, 3)
    for X in (CubicFlow(), SolutionOperator(Cubic())):
        assert_close(X.inverse().velocity()(t, x), -Cubic()(t, x))


def test_the_field_of_a_solution_operator_is_the_one_it_solves() -> None:
    b = Cubic()
    assert SolutionOperator(b).velocity() is b


def test_parameters_are_shared_with_the_map() -> None:
    network = torch.nn.Linear(3, 3).double()
    X = FlowMap.from_function(lambda _s, _t, x: x)
    X.network = network
    assert [id(p) for p in X.inverse().parameters()] == [id(p) for p in network.parameters()]
    assert [id(p) for p in X.velocity().parameters()] == [id(p) for p in network.parameters()]

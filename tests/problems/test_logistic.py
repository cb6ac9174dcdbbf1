"""Logistic growth: the map is the flow, at equal times too, and nothing overflows."""

from __future__ import annotations

import pytest
import torch

from flowops import problems
from flowops.maps import FlowMap


@pytest.mark.parametrize("rate", [4.0, -2.0])
@pytest.mark.parametrize("event", [(1,), (), (3, 2, 2)])
def test_the_map_is_the_flow_of_the_field(rate, event, generator, check_flow, check_derivatives):
    problem = problems.logistic(rate, event=(1,))
    x = torch.rand(5, *event, generator=generator, dtype=torch.float64)
    check_flow(problem, x)
    check_derivatives(problem.X, x)


def test_both_branches_of_the_map_have_the_field_as_slope_at_equal_times(generator):
    problem = problems.logistic(3.0)
    x = torch.rand(6, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(FlowMap.dt(problem.X, 0.4, 0.4, x), problem.b(0.4, x))
    torch.testing.assert_close(FlowMap.ds(problem.X, 0.4, 0.4, x), -problem.b(0.4, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [5000.0, -5000.0])
def test_enormous_rates_end_at_an_equilibrium(dtype, rate):
    x = torch.tensor([[0.0], [0.3], [1.0]], dtype=dtype)
    X = problems.logistic(rate).X
    inner = 1.0 if rate > 0 else 0.0
    torch.testing.assert_close(X(0.0, 1.0, x), torch.tensor([[0.0], [inner], [1.0]], dtype=dtype))
    for value in (X.dt(0.0, 1.0, x), X.ds(0.0, 1.0, x)):
        torch.testing.assert_close(value, torch.zeros_like(x))


def test_initial_states_lie_where_the_flow_exists(generator):
    x = problems.logistic(event=(2,)).sample(0.7, 200, generator=generator)
    assert x.shape == (200, 2)
    assert ((x >= 0) & (x <= 1)).all()

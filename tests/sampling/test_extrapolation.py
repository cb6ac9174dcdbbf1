"""Extrapolated maps as operators: calls, conditions, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import FlowMap
from flowops.sampling import CountedMap, Extrapolated, extrapolated, measured_orders
from flowops.sampling.extrapolation import halved
from flowops.sampling.grids import uniform
from tests.examples import normal, over
from tests.methods.rows import learned


def test_a_step_is_three_calls_and_keeps_conditions() -> None:
    counted, x = CountedMap(learned()), normal(4, 2)
    X = Extrapolated(counted).given(label=torch.tensor([0, 2, 1, 1]))
    s, t = torch.full((4,), 0.2).double(), torch.full((4,), 0.8).double()
    value = X(s, t, x)
    assert counted.count.sequential == 3
    own = learned().given(label=torch.tensor([0, 2, 1, 1]))
    assert_close(value, 2 * own(0.5, 0.8, own(0.2, 0.5, x)) - own(0.2, 0.8, x))
    assert_close(X.subset(torch.tensor([2]))(0.2, 0.8, x[2:3]), value[2:3])


def test_orders_are_measured_and_taken() -> None:
    x0 = torch.zeros(3, 1, dtype=torch.float64)
    for p in (1, 2):
        X = FlowMap.from_function(lambda s, t, x, p=p: x + over((t - s) ** (p + 1), x))
        assert_close(torch.tensor(measured_orders(X, x0, uniform(2))), torch.tensor([p, p]).float())
        assert extrapolated(X, x0, uniform(2)).order == p


def test_a_grid_is_halved_by_the_middles_of_its_steps() -> None:
    assert halved([0.0, 0.5, 1.0]) == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("power", [0.5, 1.5])
def test_a_defect_of_no_whole_order_is_refused(power: float) -> None:
    X = FlowMap.from_function(lambda s, t, x: x + over((t - s) ** power * (1 + s), x))
    with pytest.raises(ValueError, match=r"one whole order to be extrapolated, got .* from 2 to 4 steps and .* from 4"):
        extrapolated(X, torch.zeros(3, 1, dtype=torch.float64), uniform(2))


def test_an_order_is_whole_to_a_quarter() -> None:
    x0 = torch.zeros(3, 1, dtype=torch.float64)
    near, far = (FlowMap.from_function(lambda s, t, x, p=p: x + over((t - s) ** (p + 1), x)) for p in (1.24, 1.26))
    assert extrapolated(near, x0, uniform(2)).order == 1
    with pytest.raises(ValueError, match=r"one whole order to be extrapolated, got 1.26 from 2 to 4 steps and 1.26"):
        extrapolated(far, x0, uniform(2))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused() -> None:
    bad: list[tuple[type[Exception], str, Any]] = [
        (ValueError, "`order` must be a whole number of at least 1, got 0", lambda: Extrapolated(learned(), 0)),
        (TypeError, "`X` must be a FlowMap, got Linear", lambda: Extrapolated(torch.nn.Linear(2, 2))),  # type: ignore[arg-type]
        (
            TypeError,
            "`X` must be a FlowMap, got Linear",
            lambda: measured_orders(torch.nn.Linear(2, 2), normal(2, 2), uniform(1)),  # type: ignore[arg-type]
        ),
        (ValueError, "`grid` must run from 0 to 1", lambda: extrapolated(learned(), normal(2, 2), [0.0, 0.5])),
    ]
    for kind, message, action in bad:
        with pytest.raises(kind, match=message):
            action()

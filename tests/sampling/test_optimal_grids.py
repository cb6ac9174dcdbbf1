"""Grids from measured errors: conditions, chunks, files, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, problems
from flowops.sampling import CountedMap, StepErrors, optimal_grids, step_errors
from flowops.sampling.grids import load_grids, uniform
from tests.examples import normal, over
from tests.methods.rows import learned


class Late(FlowMap):
    r"""$x+c\,(t-s)^2$ where a step ends in the last quarter, and exact before."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        late = (t - s.clamp(min=0.75)).clamp(min=0)
        return x + over(label * late**2, x)


def test_steps_go_where_the_map_errs() -> None:
    X = Late().given(label=torch.tensor([1.0, 2.0, 3.0]))
    found = optimal_grids(X, torch.zeros(3, 2), (1, 2, 4))
    assert list(found) == [1, 2, 4]
    assert found[1] == [0.0, 1.0]
    assert found[2][1] == 21 / 24
    assert all(0.75 <= t <= 1 for t in found[4][1:])


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_chunks_change_nothing_and_conditions_stay_with_their_samples(chunk: int | None) -> None:
    counted = CountedMap(learned())
    X = counted.given(label=torch.tensor([0, 2, 1]))
    errors = step_errors(X, normal(3, 2), uniform(4), chunk=chunk)
    own, path = learned().given(label=torch.tensor([0, 2, 1])), normal(3, 2)
    states = own.compose(uniform(4), path, trajectory=True)
    end = own(0.75, 1.0, own(0.25, 0.75, states[1]))
    assert_close(errors.squares[1, 3], (end - own(0.75, 1.0, states[3])).square().mean())
    assert_close(errors.squares[1, 4], (own(0.25, 1.0, states[1]) - states[4]).square().mean())
    if chunk is None:
        assert counted.count.sequential == 4 + 1 + 4 + 3  # the path, its ends, a row each, what they lead to


def test_a_field_may_say_what_is_true() -> None:
    problem = problems.rotation(1.0)
    errors = step_errors(problem.X, normal(3, 2), uniform(4), b=problem.b)
    assert float(errors.squares.triu(1).nan_to_num(posinf=0).max()) < 1e-15


def test_predicted_errors_are_those_of_the_grid_and_are_saved_with_it(tmp_path: Path) -> None:
    squares = torch.full((4, 4), torch.inf, dtype=torch.float64)
    squares[0] = torch.tensor([torch.inf, 1.0, 4.0, 25.0])
    squares[1, 2:], squares[2, 3] = torch.tensor([2.0, 8.0]), 3.0
    errors = StepErrors([0.0, 0.2, 0.5, 1.0], squares)
    assert errors.grid(1) == [0.0, 1.0]
    assert errors.grid(2) == [0.0, 0.5, 1.0]
    assert errors.grid(3) == [0.0, 0.2, 0.5, 1.0]
    assert [errors.of(errors.grid(k)) ** 2 for k in (1, 2, 3)] == pytest.approx([25.0, 7.0, 6.0])
    errors.save(tmp_path / "grids.json", (1, 2))
    assert load_grids(tmp_path / "grids.json") == {1: [0.0, 1.0], 2: [0.0, 0.5, 1.0]}
    for action, message in (
        (lambda: errors.grid(4), "`steps` must be at most 3, got 4; measure at more times"),
        (lambda: errors.of([0.0, 0.3, 1.0]), "`grid` must hold times at which errors were measured, got 0.3"),
    ):
        with pytest.raises(ValueError, match=message):
            action()


def test_a_grid_avoids_steps_that_are_not_finite_and_there_is_none_without() -> None:
    X = FlowMap.from_function(lambda s, t, x: torch.where(over(t - s, x) > 0.6, torch.nan, x + 1))
    errors = step_errors(X, normal(3, 2), uniform(4))
    assert errors.grid(2) == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="`X` must be finite along some grid of 1 step, and is along none"):
        errors.grid(1)


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused() -> None:
    X, x0 = learned(), normal(2, 2)
    bad: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "`X` must be a FlowMap, got Linear", lambda: step_errors(torch.nn.Linear(2, 2), x0)),  # type: ignore[arg-type]
        (ValueError, "`x0` must hold at least one state", lambda: step_errors(X, torch.empty(0, 2))),
        (ValueError, "`times` must run from 0 to 1", lambda: step_errors(X, x0, [0.0, 0.5])),
        (ValueError, "`steps` must hold at least one number of steps", lambda: optimal_grids(X, x0, ())),
        (TypeError, "`steps` must be a list of numbers of steps, got 3", lambda: optimal_grids(X, x0, 3)),  # type: ignore[arg-type]
        (ValueError, "`steps` must be a whole number of at least 1, got 0", lambda: optimal_grids(X, x0, (0,))),
    ]
    for kind, message, action in bad:
        with pytest.raises(kind, match=message):
            action()

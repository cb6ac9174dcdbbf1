"""The scalar equation with a rate and a forcing in time: its map is the flow, for constant rates and none too."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from flowops import problems


@pytest.mark.parametrize(
    "constants", [(-1.0, 3.0, 1.0, 2.0), (2.0, 0.0, 0.5, 1.0), (0.0, 1.0, 1.0, 5.0), (1.0, 1e-9, 0.0, 0.0)]
)
@pytest.mark.parametrize("event", [(1,), (), (3, 2, 2)])
def test_the_map_is_the_flow_of_the_field(constants, event, generator, check_flow, check_derivatives):
    problem = problems.time_dependent_scalar(*constants)
    x = torch.randn(4, *event, generator=generator, dtype=torch.float64)
    check_flow(problem, x)
    check_derivatives(problem.X, x)


def test_the_forcing_carries_its_own_solution():
    x = torch.zeros(1, 1, dtype=torch.float64)
    problem = problems.time_dependent_scalar(rate=7.0, amplitude=2.0, frequency=3.0)
    expected = 2 * torch.sin(torch.tensor([[3 * 0.6]], dtype=torch.float64))
    torch.testing.assert_close(problem.X(0.0, 0.6, x), expected)


@pytest.mark.usefixtures("unchecked")
def test_bad_constants_and_events_are_refused():
    with pytest.raises(ValueError, match="`omega` must be finite, got inf"):
        problems.time_dependent_scalar(omega=float("inf"))
    with pytest.raises(TypeError, match="`rate` must be a number or a tensor, got str"):
        problems.time_dependent_scalar(rate=cast(float, "fast"))
    with pytest.raises(ValueError, match="`event` must be a whole number of at least 1, got 0"):
        problems.time_dependent_scalar(event=(0,))

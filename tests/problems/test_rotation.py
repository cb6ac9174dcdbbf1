"""Rotation: the map turns every plane by its own angle and keeps lengths and volumes."""

from __future__ import annotations

import math

import pytest
import torch

from flowops import problems


@pytest.mark.parametrize(("omega", "d", "event"), [(2.0, 2, (2,)), ([1.0, -3.0], 4, (4,)), (0.5, 4, (1, 2, 2))])
def test_the_map_is_the_flow_of_the_field(omega, d, event, generator, check_flow, check_derivatives):
    problem = problems.rotation(omega, d)
    x = torch.randn(5, *event, generator=generator, dtype=torch.float64)
    check_flow(problem, x)
    check_derivatives(problem.X, x)
    torch.testing.assert_close(problem.X(0.2, 0.9, x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_a_quarter_turn_is_counter_clockwise():
    X = problems.rotation(math.pi / 2).X
    torch.testing.assert_close(X(0.0, 1.0, torch.tensor([[1.0, 0.0]])), torch.tensor([[0.0, 1.0]]))


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="`d` must be an even number of coordinates, at least 2, got 3"):
        problems.rotation(1.0, 3)
    with pytest.raises(ValueError, match=r"`omega` must be a number or have shape \[d / 2\] = \[2\], got \[3\]"):
        problems.rotation([1.0, 2.0, 3.0], 4)
    with pytest.raises(ValueError, match="`x` must have events of 2 entries"):
        problems.rotation().X(0.0, 1.0, torch.zeros(1, 3))

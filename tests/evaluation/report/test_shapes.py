"""Shapes of trajectories in closed form, and of a map that is bent otherwise."""

from __future__ import annotations

import math

import pytest
import torch

from flowops import FlowMap, problems
from flowops.evaluation.report import Figure, Table
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.shapes import shape_section
from tests.examples import normal, over

ANGLE = 2.0


def rows(observed: Observed) -> dict[str, list[float]]:
    (table,) = (part for part in shape_section(observed).parts if isinstance(part, Table))
    return {row[0]: [float(cell) for cell in row[1:]] for row in table.rows}


def test_an_arc_has_the_shape_of_an_arc() -> None:
    problem, x = problems.rotation(ANGLE), normal(20, 2)
    found = rows(Observed(problem.X, problem.b, x))
    chord = 2 * math.sin(ANGLE / 2)  # of a circle of radius one
    spread = [(1 + side * math.sin(ANGLE) / ANGLE) / 2 for side in (-1, 1)]  # second moments along the two axes
    spread[1] -= (chord / ANGLE) ** 2
    squares = x[:16].square().sum(1)
    expected = {
        "length over distance of the ends": [ANGLE / chord] * 2,
        "kinetic energy, ∫|∂X|²": [float(ANGLE**2 * squares.quantile(q)) for q in (0.5, 1.0)],
        "of it for bends and hurries (straightness)": [
            float((ANGLE**2 - chord**2) * squares.quantile(q)) for q in (0.5, 1.0)
        ],
        "turning, in radians": [ANGLE] * 2,
        "share of the first principal axis": [max(spread) / sum(spread)] * 2,
        "share of the first two": [1.0] * 2,
        "local Lipschitz constant, |∇X|": [1.0] * 2,
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name][:2] == pytest.approx(values, rel=0.01), name  # solutions
        assert found[name][2:] == pytest.approx(values, rel=0.01), name  # the map, which is exact


def test_a_map_that_is_straight_is_told_from_solutions_that_are_not() -> None:
    problem = problems.rotation(ANGLE)
    euler = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) * problem.b(s, x))
    observed = Observed(euler, problem.b, normal(20, 2))
    found = rows(observed)
    for name, least in (("of it for bends and hurries (straightness)", 0.1), ("turning, in radians", 1.0)):
        assert found[name][0] > least
        assert abs(found[name][2]) < 1e-6
    assert found["local Lipschitz constant, |∇X|"][2:] == pytest.approx([math.sqrt(1 + ANGLE**2)] * 2, rel=0.01)
    (figure,) = (part for part in shape_section(observed).parts if isinstance(part, Figure))
    speeds = ANGLE * observed.x[:16].norm(dim=1).median()
    for name in ("solution", "map"):
        torch.testing.assert_close(torch.tensor(figure.data[name]).double(), speeds.expand(25), rtol=1e-4, atol=0)


def test_a_solved_field_is_told_alone() -> None:
    problem = problems.rotation(ANGLE)
    assert {len(values) for values in rows(Observed(problem.b.flow_map(), problem.b, normal(4, 2))).values()} == {2}

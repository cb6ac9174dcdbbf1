"""What holds of a learned map exactly is judged; what no training makes exact is measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, LearnedMap, problems
from flowops.checks import Report, check_learned_map
from tests.examples import normal, over

SIZES = ["Lagrangian", "Eulerian", "Semigroup", "Inverse", "Liouville"]


class Velocity(nn.Module):
    """An average velocity that depends on everything."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return over(1 + self.slope * (t - s), x) * torch.sin(x.flip(1) + over(s, x))


def outcomes(report: Report) -> dict[str, str]:
    return {v.name: v.outcome for v in report.verdicts}


def test_a_learned_map_is_judged_where_it_is_exact_and_measured_elsewhere() -> None:
    report = check_learned_map(LearnedMap(Velocity(0.5)), normal(24, 2))
    found = outcomes(report)
    assert [name for name, outcome in found.items() if outcome == "measured"] == SIZES
    assert set(found.values()) == {"holds", "measured"}
    assert report.holds
    assert "Measured, root mean squares over those of the larger sides: Lagrangian " in report.sentence()


@pytest.mark.parametrize("event", [(2,), (1, 3, 3)])
def test_sizes_of_a_map_in_closed_form(event: tuple[int, ...]) -> None:
    r"""$X=x+(t-s)(1+t-s)c$ has the field $c$: Lagrangian and Eulerian miss it by $2(t-s)c$, a semigroup less."""
    X = FlowMap.from_function(lambda s, t, x: x + over((t - s) * (1 + t - s), x) * torch.ones_like(x))
    sizes = {v.name: v.residual for v in check_learned_map(X, normal(200, *event), n=200).verdicts if v.name in SIZES}
    # root mean squares of 2(t-s) and of the derivative 1 + 2(t-s), for the least and largest of three uniform times
    expected = math.sqrt(4 * 0.3 / (1 + 4 * 0.5 + 4 * 0.3))
    assert sizes["Lagrangian"] == pytest.approx(expected, rel=0.1)
    assert sizes["Eulerian"] == pytest.approx(expected, rel=0.1)
    assert sizes["Liouville"] == 0


def test_the_exact_map_has_no_size() -> None:
    problem = problems.rotation(2.0)
    report = check_learned_map(problem.X, normal(12, 2), n=12)
    assert all(v.residual < 1e-6 for v in report.verdicts)


def test_a_map_that_is_no_identity_fails() -> None:
    report = check_learned_map(FlowMap.from_function(lambda s, t, x: 1.001 * x + over(t - s, x)), normal(12, 2), n=12)
    assert not report.holds
    assert report.first_broken is not None
    assert report.first_broken.name == "Identity"


def test_samples_that_interact_fail() -> None:
    X = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) * x.mean(0))
    assert outcomes(check_learned_map(X, normal(12, 2), n=12))["Samples"] == "FAILS"


def test_what_is_not_finite_fails_and_is_not_measured() -> None:
    X = FlowMap.from_function(lambda s, t, x: x * over(torch.where(t == s, 1.0, math.nan), x))
    found = outcomes(check_learned_map(X, normal(12, 2), n=12))
    assert found["Semigroup"] == "FAILS"
    assert "measured" not in found.values()


def test_sizes_are_those_at_states_that_the_map_visits() -> None:
    """From zero the map goes along $x_s=s$, where it is exact; beside this line it is not."""
    X = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) + over((t - s) ** 2, x) * (x - over(s, x)))
    for start, least, most in ((0.0, 0.0, 1e-6), (1.0, 1e-2, 10.0)):
        x = torch.full((24, 2), start, dtype=torch.float64)
        sizes = {v.name: v.residual for v in check_learned_map(X, x).verdicts}
        assert least <= sizes["Lagrangian"] <= most

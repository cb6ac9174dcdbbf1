"""What the figures show: residuals in closed form, trajectories that are true, samples, errors, the certificate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField, problems
from flowops.checks import Request
from flowops.evaluation.report import Figure, Paragraph, Section, Table, plan_of_objects
from flowops.evaluation.report.certified import certificate_section
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.residual_maps import residual_map, residual_section
from flowops.evaluation.report.samples import sample_section
from flowops.evaluation.report.schedule import schedule_section
from flowops.evaluation.report.shapes import shape_section
from flowops.evaluation.report.step_errors import step_error_section
from flowops.evaluation.report.trajectories import trajectory_section
from tests.evaluation.report.pages import Read
from tests.examples import normal, over

REST = VelocityField.from_function(lambda _, x: torch.zeros_like(x))
SECTIONS = [
    residual_section, trajectory_section, shape_section, sample_section, certificate_section, step_error_section,
]  # fmt: skip


def drift(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""$x+3(t-s)^2$, whose field is zero."""
    return x + over(3 * (t - s) ** 2, x)


def hidden(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The same, with derivatives that forward mode takes for zero."""
    return drift(s.detach(), t.detach(), x.detach()) + 0 * (over(s + t, x) + x)


def seen(*event: int, n: int = 20, map_: Callable[..., Tensor] = drift) -> Observed:
    return Observed(FlowMap.from_function(map_), REST, normal(n, *event))


def figures(section: Section) -> list[Figure]:
    return [part for part in section.parts if isinstance(part, Figure)]


@pytest.mark.parametrize("map_", [drift, hidden])
@pytest.mark.parametrize("event", [(), (2,), (1, 3, 3)])
def test_residuals_are_those_of_a_map_in_closed_form(event: Sequence[int], map_: Callable[..., Tensor]) -> None:
    found = residual_map(seen(*event, map_=map_), cells=4)
    middle = torch.tensor([1, 3, 5, 7], dtype=torch.float64) / 8
    length = middle - middle[:, None]
    expected = {"Lagrangian": 6 * length.abs(), "Semigroup": 1.5 * length**2, "Inverse": 6 * length**2}
    for name, values in {**expected, "Eulerian": 6 * length.abs()}.items():
        torch.testing.assert_close(found.values[name], values, rtol=1e-6, atol=1e-6)
    assert found.velocity == 0


def test_only_forward_times_are_looked_at_where_a_map_does_not_go_back() -> None:
    observed = Observed(FlowMap.from_function(drift), REST, normal(4, 2), backward=False)
    values = residual_map(observed, cells=3).values["Lagrangian"]
    assert torch.equal(values.isnan(), torch.ones(3, 3).tril(-1).bool())
    assert len(figures(residual_section(observed))) == 3
    assert len(figures(residual_section(seen(2)))) == 4


def test_conditions_stay_with_their_states() -> None:
    """A map that shifts each sample by its own label has the residuals of that label."""

    def shifted(s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return x + over((t - s) ** 2 * label, x)

    labels = torch.tensor([1.0, 5.0], dtype=torch.float64)
    X = FlowMap.from_function(shifted)
    one, two, both = (
        residual_map(Observed(X.given(label=chosen), REST, normal(len(chosen), 2)), cells=3).values["Semigroup"]
        for chosen in (labels[:1], labels[1:], labels)
    )
    torch.testing.assert_close(both, ((one**2 + two**2) / 2).sqrt())


@pytest.mark.parametrize("event", [(), (1,), (2,), (5,), (1, 3, 3)])
def test_every_section_is_drawn_for_states_of_any_shape(event: Sequence[int]) -> None:
    pytest.importorskip("torchvision")
    for build in SECTIONS:
        section = build(seen(*event))
        assert figures(section), section
        for figure in figures(section):
            Read(f"<div>{figure.drawing}</div>")


def test_solutions_are_true_and_the_map_is_where_it_says() -> None:
    problem = problems.rotation(2.0)
    euler = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) * problem.b(s, x))
    observed = Observed(euler, problem.b, normal(30, 2))
    one, four = (figure.data for figure in figures(trajectory_section(observed)))
    x = observed.x[:12]
    times = torch.tensor(one["times"], dtype=torch.float64)
    torch.testing.assert_close(
        torch.tensor(one["solutions"]).double(), problem.X.path(0.0, times, x), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(torch.tensor(one["map"][1]).double(), euler(0.0, 1.0, x), atol=1e-6, rtol=0)
    assert len(four["map"]) == 5


def test_errors_fall_at_the_order_of_a_sampler_and_with_the_tolerance() -> None:
    problem = problems.rotation(2.0)
    euler = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) * problem.b(s, x))
    by_calls, by_tolerance = figures(step_error_section(Observed(euler, problem.b, normal(8, 2))))
    found = by_calls.data
    for (calls, distance), other in zip(found["map, equal steps"], found["euler"], strict=True):
        assert (calls, distance) == pytest.approx(other)
    for label, order, cost in (("euler", 1, 1), ("heun", 2, 2)):
        (near, e), (last, f) = found[label][-2:]
        assert (near, last) == (16 * cost, 32 * cost)
        assert math.log2(e / f) == pytest.approx(order, abs=0.2)
    calls, distances = by_tolerance.data["calls"], by_tolerance.data["distance"]
    assert calls == sorted(calls)
    for tolerance, distance in zip(by_tolerance.data["tolerance"], distances, strict=True):
        assert distance <= 3 * tolerance  # of 1 + |x|, and of what the map says of itself


def test_without_a_unit_horizon_no_tolerance_is_asked_for() -> None:
    problem = problems.rotation(2.0)
    assert len(figures(step_error_section(Observed(problem.X, problem.b, normal(8, 2), (0.0, 2.0))))) == 1
    assert len(figures(step_error_section(Observed(problem.b.flow_map(), problem.b, normal(8, 2))))) == 1


def test_the_certificate_tells_error_bound_and_the_status_of_constants() -> None:
    problem = problems.logistic(1.5)
    near = FlowMap.from_function(lambda s, t, x: problem.X(s, t, x) + over(0.01 * (t - s), x))
    section = certificate_section(Observed(near, problem.b, normal(6, 1).sigmoid()))
    sizes, constants = (part for part in section.parts if isinstance(part, Table))
    rows = {row[0]: float(row[1]) for row in sizes.rows}
    assert rows["error"] == pytest.approx(0.01, rel=0.05)
    assert rows["bound, logarithmic norm"] >= rows["error"]
    assert {row[2] for row in constants.rows} <= {"proved", "computed", "estimated"}


def test_a_map_that_is_exact_has_nothing_to_certify() -> None:
    problem = problems.rotation(2.0)
    (said,) = certificate_section(Observed(problem.X, problem.b, normal(6, 2))).parts
    assert isinstance(said, Paragraph)
    assert "to rounding" in said.text


def test_a_solved_field_has_no_residuals_to_show() -> None:
    field, whole = Request(field="tests.checks.objects:field"), Request(problem="tests.checks.objects:turning")
    left_out = {"Residuals over pairs of times", "Certificate", "Likelihood"}
    titles, others = ({task.title for task in plan_of_objects(request).figures} for request in (field, whole))
    assert left_out <= others
    assert others - titles == left_out


def test_a_schedule_is_drawn_with_its_latent() -> None:
    I = Interpolant.from_expressions("1-t", "t", "sqrt(t*(1-t))")
    coefficients, derivatives = figures(schedule_section(I))
    assert coefficients.data["gamma"][50] == pytest.approx(0.5)
    assert derivatives.data["alpha"][3] == pytest.approx(-1)

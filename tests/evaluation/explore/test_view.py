"""What a page would show: particles where closed forms say, and few steps that are off by what they should be."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, SolutionOperator, VelocityField, problems, residuals
from flowops.evaluation.explore import NAMES, Choice, EqualSteps, View, subject_of_problem
from flowops.evaluation.report.observed import Observed
from flowops.interpolants import linear, named
from flowops.maps import SolverStep
from tests.examples import normal, over

TURN = 2.0


def turning(n: int = 40) -> View:
    """Half a turn and more about the origin, beside Euler's steps."""
    problem = problems.rotation(TURN)
    ways = {"euler": SolverStep(problem.b, "euler"), "exact": problem.X}
    return View(Observed(problem.X, problem.b, normal(n, 2)), ways)


def test_particles_are_those_of_the_closed_form_at_all_times() -> None:
    view, exact = turning(), problems.rotation(TURN).X
    for s, t in ((0.0, 1.0), (0.25, 0.75), (0.9, 0.1)):
        scene = view.scene(Choice(s, t, 1, "exact"))
        start = exact(0.0, s, view.observed.x)
        torch.testing.assert_close(scene.start, start, atol=1e-7, rtol=0)
        torch.testing.assert_close(scene.true, exact(s, t, start), atol=1e-7, rtol=0)
        torch.testing.assert_close(scene.mapped, scene.true, atol=1e-7, rtol=0)
        assert scene.distance < 1e-7


def test_a_map_of_few_steps_is_off_by_its_order() -> None:
    view = turning()
    far, near = (view.scene(Choice(0.0, 1.0, k, "euler")).distance for k in (8, 16))
    assert math.log2(far / near) == pytest.approx(1.0, abs=0.2)
    assert far > 0.05  # the wrong map is seen to be one
    one = view.scene(Choice(0.0, 1.0, 1, "euler"))
    x = view.observed.x
    torch.testing.assert_close(one.mapped, x + problems.rotation(TURN).b(0.0, x))
    assert [view.calls(Choice(steps=3, way=way)) for way in ("euler", "heun")] == [3, 6]


def test_equal_steps_are_steps_of_the_map() -> None:
    euler = SolverStep(problems.rotation(TURN).b, "euler")
    x, s, t = normal(6, 2), torch.rand(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    steps = EqualSteps(euler, 3)
    grid = [s, s + (t - s) / 3, s + 2 * (t - s) / 3, t]
    torch.testing.assert_close(steps(s, t, x), euler.compose(grid, x))
    torch.testing.assert_close(steps.stops(s, t, x), euler.compose(grid, x, trajectory=True))
    exact = EqualSteps(problems.rotation(TURN).X, 5)
    assert residuals.semigroup(exact, 0.1, 0.4, 0.9, x).abs().max() < 1e-12
    assert residuals.semigroup(steps, 0.1, 0.4, 0.9, x).abs().max() > 1e-3
    with pytest.raises(ValueError, match="`steps` must be"):
        EqualSteps(euler, 0)


def test_the_way_of_a_particle_begins_and_ends_where_it_is_seen() -> None:
    view = turning()
    for choice in (Choice(0.25, 1.0, 4, "euler"), Choice(1.0, 0.5, 2, "euler"), Choice(0.5, 0.5, 1, "euler")):
        scene = view.scene(choice)
        way = view.way(choice, 7)
        torch.testing.assert_close(way.true[[0, -1]], torch.stack([scene.start[7], scene.true[7]]))
        torch.testing.assert_close(way.stops[[0, -1]], torch.stack([scene.start[7], scene.mapped[7]]))
        torch.testing.assert_close(way.curve[[0, -1]], way.stops[[0, -1]])
        assert len(way.stops) == choice.steps + 1


def test_the_nearest_particle_is_found_by_either_end() -> None:
    scene = turning().scene(Choice(0.0, 1.0, 1, "euler"))
    for ends in (scene.mapped, scene.true):
        x, y = ends[11].tolist()
        assert scene.nearest(x, y) == 11


def test_conditions_stay_with_their_particles() -> None:
    def shifted(s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return x + over((t - s) * label, x)

    labels = torch.arange(5.0, dtype=torch.float64)
    X = FlowMap.from_function(shifted).given(label=labels)
    view = View(Observed(X, X.velocity(), normal(5, 2)), {"map": X}, labels.long(), learned=True)
    scene = view.scene(Choice(0.0, 0.5, 3))
    torch.testing.assert_close(scene.mapped - scene.start, 0.5 * labels[:, None].expand(5, 2))
    assert scene.group.tolist() == [0, 1, 2, 3, 4]
    way = view.way(Choice(0.0, 0.5, 3), 4)
    torch.testing.assert_close(way.stops[-1] - way.stops[0], torch.full((2,), 2.0, dtype=torch.float64))
    assert scene.distance < 1e-6


def test_without_labels_a_particle_has_its_quadrant_at_the_first_time() -> None:
    scene = turning(400).scene(Choice(0.5, 1.0, 1, "euler"))
    assert torch.bincount(scene.group, minlength=4).min() > 40
    middle = scene.start.median(0).values
    right_above = (scene.start > middle).all(1)
    assert torch.equal(scene.group == 3, right_above)


def test_residuals_are_those_of_the_chosen_steps() -> None:
    view = turning()
    one, four, none = (
        view.residuals(Choice(steps=k, way=way)).values["Lagrangian"]
        for k, way in ((1, "euler"), (4, "euler"), (1, "exact"))
    )
    assert one[0, -1] > 2 * four[0, -1] > 1e-2
    assert none.abs().max() < 1e-6
    middle = view.residuals(Choice(way="euler")).edges[1] / 2
    x = problems.rotation(TURN).X(0.0, middle, view.observed.x[:16])
    euler = SolverStep(problems.rotation(TURN).b, "euler")
    direct = residuals.lagrangian(euler, problems.rotation(TURN).b, middle, 1 - middle, x).square().mean().sqrt()
    assert float(one[0, -1]) == pytest.approx(float(direct), rel=0.05)  # states are visited by the map, not the flow


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    rest = VelocityField.from_function(lambda _, x: torch.zeros_like(x))
    broken = FlowMap.from_function(lambda _, t, x: torch.where(x[:, :1] > 0, x / over(t - t, x), x + 1))
    x = normal(10, 2)
    scene = View(Observed(broken, rest, x), {"map": broken}).scene(Choice())
    assert scene.lost == int((x[:, 0] > 0).sum()) > 0
    assert scene.distance == pytest.approx(1.0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("logistic", "time-dependent", "checkerboard")])
def test_every_problem_is_seen_under_two_schedules(name: str) -> None:
    subject = subject_of_problem(name, n=30)
    view = subject.under(None)
    scene = view.scene(Choice(0.2, 0.9, 16, "heun"))
    assert scene.lost == 0
    assert scene.distance < 0.1
    if subject.interpolant is None:
        with pytest.raises(ValueError, match="`problem` must be one that takes a schedule"):
            subject.under(named("trigonometric"))
    else:
        other = subject.under(named("trigonometric"))
        assert not torch.allclose(other.true(0.5), view.true(0.5), atol=1e-3)
        torch.testing.assert_close(other.true(1.0), view.true(1.0), atol=2e-3, rtol=0)  # one coupling, one end


def test_a_problem_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="`problem` must be one of .* did you mean 'mixture'"):
        subject_of_problem("mixtur")
    with pytest.raises(ValueError, match="states in a plane, of more numbers, or images"):
        subject_of_problem("logistic")
    with pytest.raises(ValueError, match="given without one; leave them out"):
        subject_of_problem("rotation", linear())
    assert subject_of_problem("tests.checks.objects:gaussian", n=5).under(None).scene(Choice(way="heun")).lost == 0


def test_images_stand_in_rows() -> None:
    field = VelocityField.from_function(lambda _, x: -x)
    X = field.flow_map()
    view = View(
        Observed(X, field, normal(6, 1, 4, 4)), {"map": FlowMap.from_function(lambda _, __, x: x)}, learned=True
    )
    rows = view.samples(Choice(0.0, 1.0, 3), shown=5)
    assert list(rows) == ["at s = 0", *(f"map, {k} step{'s' * (k > 1)}" for k in (1, 2, 3, 4, 8)), "true flow"]
    assert all(x.shape == (5, 1, 4, 4) for x in rows.values())
    torch.testing.assert_close(rows["true flow"], view.observed.x[:5] * math.exp(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows["map, 3 steps"], view.observed.x[:5])
    off = float(view.observed.x.square().mean().sqrt()) * (1 - math.exp(-1))
    assert view.distance(Choice())[0] == pytest.approx(off, rel=1e-5)


def test_a_choice_of_five_hundred_particles_takes_a_moment() -> None:
    view = subject_of_problem("mixture").under(None)
    view.scene(Choice(0.1, 0.9, 8, "heun"))
    begun = time.process_time()
    for k in range(10):
        view.scene(Choice(0.1, 0.5 + 0.05 * k, 8, "heun"))
    assert (time.process_time() - begun) / 10 < 0.2
    assert isinstance(view.observed.truth(), SolutionOperator)

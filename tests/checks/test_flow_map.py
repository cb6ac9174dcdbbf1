"""Right maps pass; of wrong ones the first broken equation is named, with its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, SolutionOperator, VelocityField, interpolants, problems, residuals
from flowops.checks import Report, check_flow_map
from flowops.problems import Problem
from tests.examples import normal, over

FORCED = problems.time_dependent_scalar()
TURNING = problems.rotation(2.0)
SLOW, NEARLY_SLOW = problems.logistic(0.3), problems.logistic(0.30001)
of = FlowMap.from_function


def euler(problem: Problem) -> FlowMap:
    return of(lambda s, t, x: x + over(t - s, x) * problem.b(s, x))


def jump(size: Callable[[Tensor], Tensor]) -> FlowMap:
    """The flow, but for what starts before 0.3 and goes beyond 0.6: it is moved by `size(s)` at 0.6."""
    X = FORCED.X

    def moved(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        middle = torch.full_like(s, 0.6)
        there = X(middle, t, X(s, middle, x) + over(size(s), x))
        return torch.where(over((s < 0.3) & (t > 0.6), x), there, X(s, t, x))

    return of(moved)


class OwnRule(FlowMap):
    """The flow, with a rule for one derivative that is off by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.X, self.factor = FORCED.X, factor

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x)

    def ds(self, s, t, x):
        return self.factor * self.X.ds(s, t, x)


class OwnDeterminant(OwnRule):
    """The flow, with a rule for its determinant that is off by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__(1.0)
        self.by = factor

    def log_abs_det(self, s, t, x):
        return self.by * self.X.log_abs_det(s, t, x)


def through_numpy(X: FlowMap) -> FlowMap:
    """The same map by values that torch cannot differentiate."""

    def values(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.from_numpy(X(s.detach(), t.detach(), x.detach()).detach().numpy().copy())

    return of(values)


WRONG: dict[str, tuple[FlowMap, Problem, str]] = {
    "an Euler step": (euler(TURNING), TURNING, "Lagrangian"),
    "a constant of 0.30001": (NEARLY_SLOW.X, SLOW, "Tangent"),
    "single precision inside": (of(lambda s, t, x: TURNING.X(s, t, x.float()).double()), TURNING, "Digits"),
    "the flow of another field": (problems.rotation(2.1).X, TURNING, "Tangent"),
    "a wrong inverse": (
        of(lambda s, t, x: torch.where(over(t >= s, x), TURNING.X(s, t, x), euler(TURNING)(s, t, x))),
        TURNING, "Inverse",
    ),
    "the times swapped": (of(lambda s, t, x: FORCED.X(t, s, x)), FORCED, "Tangent"),
    "the time elapsed alone": (of(lambda s, t, x: FORCED.X(0 * s, t - s, x)), FORCED, "Tangent"),
    "no identity on the diagonal": (of(lambda s, t, x: TURNING.X(s, t, x) + 1e-5), TURNING, "Identity"),
    "a defect of second order": (
        of(lambda s, t, x: FORCED.X(s, t, x) + 1e-5 * over((t - s) ** 2, x) * x.sin()), FORCED, "Lagrangian",
    ),
    "a jump by what depends on the start": (jump(lambda s: 0.1 * s), FORCED, "Eulerian"),
    "a jump that no derivative sees": (jump(lambda s: 0.1 + 0 * s), FORCED, "Semigroup"),
    "samples that interact": (of(lambda s, t, x: TURNING.X(s, t, x) + 1e-3 * (x - x.mean(0))), TURNING, "Samples"),
    "a rule of its own that is wrong": (OwnRule(1.001), FORCED, "Rules"),
    "a determinant of its own that is wrong": (OwnDeterminant(1.001), FORCED, "Rules"),
    "the map that stays": (of(lambda s, t, x: x + 0 * over(t - s, x)), TURNING, "Tangent"),
}  # fmt: skip


def checked(X: FlowMap, problem: Problem, **options: Any) -> Report:
    return check_flow_map(X, problem.b, event=tuple(problem.event), **options)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_map_is_caught_and_the_first_broken_equation_named(name: str) -> None:
    X, problem, equation = WRONG[name]
    report = checked(X, problem)
    assert report.first_broken is not None, str(report)
    assert report.first_broken.name == equation, str(report)
    assert not report.holds
    sentence = report.sentence()
    assert f"first broken equation: {equation}." in sentence
    assert all(word in sentence for word in ("t = ", "x = ", "left side", "right side", "Source: "))


def test_both_sides_are_those_of_the_equation_at_the_place() -> None:
    X, problem, _ = WRONG["an Euler step"]
    broken = checked(X, problem).first_broken
    assert broken is not None
    assert broken.place is not None
    place = broken.place
    left, right = residuals.lagrangian(X, problem.b, place.times["s"], place.times["t"], place.x[None], parts=True)
    torch.testing.assert_close(place.left, left[0])
    torch.testing.assert_close(place.right, right[0])


def test_the_residual_scales_with_the_defect() -> None:
    sizes = []
    for delta in (1e-3, 5e-4):
        X = of(lambda s, t, x, delta=delta: TURNING.X(s, t, x) + delta * over((t - s) ** 2, x) * x.sin())
        broken = checked(X, TURNING).first_broken
        assert broken is not None
        assert broken.name == "Lagrangian"
        sizes.append(broken.residual)
    assert sizes[0] / sizes[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("name", ["linear", "rotation", "logistic", "time-dependent"])
def test_closed_forms_pass(name: str) -> None:
    problem = problems.REFERENCE[name](interpolants.linear())
    report = checked(problem.X, problem)
    assert report.holds, str(report)
    assert not report.undecided, str(report)


@pytest.mark.parametrize("event", [(), (1,), (2, 2, 2)])
def test_any_event_and_a_single_sample_pass(event: tuple[int, ...]) -> None:
    problem = problems.time_dependent_scalar(event=event)
    assert checked(problem.X, problem).holds
    assert checked(problem.X, problem, n=1).holds


def test_single_precision_passes_at_its_own_tolerance() -> None:
    report = checked(TURNING.X, TURNING, states=normal(24, 2).float())
    assert report.holds, str(report)
    assert {v.tolerance for v in report.verdicts} == {4e-4, 0.1 * 4e-4}


def test_a_map_without_a_field_is_held_to_the_one_that_it_implies() -> None:
    right, wrong = (check_flow_map(X, event=(1,)) for X in (FORCED.X, euler(FORCED)))
    assert right.holds
    assert "Tangent" not in [v.name for v in right.verdicts]
    assert wrong.first_broken is not None
    assert wrong.first_broken.name == "Lagrangian"


def test_a_map_that_forward_mode_does_not_pass_is_differenced() -> None:
    right, wrong = (checked(through_numpy(X), SLOW) for X in (SLOW.X, euler(SLOW)))
    assert right.holds, str(right)
    assert [v.name for v in right.undecided] == ["Forward mode"]
    assert "differences took its place" in right.undecided[0].reason
    assert wrong.first_broken is not None
    assert wrong.first_broken.name == "Lagrangian"


def test_forward_mode_that_is_no_derivative_is_not_believed() -> None:
    class Silent(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(t: Tensor) -> Tensor:
            return t.clone()

        @staticmethod
        def setup_context(ctx, inputs, output) -> None:
            pass

        @staticmethod
        def jvp(_, dt: Tensor) -> Tensor:
            return torch.zeros_like(dt)

    report = checked(of(lambda s, t, x: FORCED.X(s, Silent.apply(t), x)), FORCED)
    assert report.first_broken is not None, str(report)
    assert report.first_broken.name == "Forward mode"
    assert len(report.failures) == 1, str(report)


def test_a_solved_map_passes_and_its_own_rules_are_compared() -> None:
    b = VelocityField.from_function(lambda t, x: torch.stack([x[:, 1], -x[:, 0].sin() + 0.1 * t], 1))
    report = check_flow_map(SolutionOperator(b), b, n=3)
    assert report.holds, str(report)
    assert report.verdicts[-1].name == "Rules"


def test_horizon_and_states_are_those_that_were_asked_for() -> None:
    seen: list[tuple[float, float, float]] = []

    def noted(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        seen.append((float(s.min()), float(t.max()), float(x.abs().min())))
        return TURNING.X(s, t, x)

    states = 3 + 0.1 * normal(40, 2)
    report = checked(of(noted), TURNING, horizon=(1.0, 4.0), states=states, n=6)
    assert report.holds, str(report)
    assert min(s for s, _, _ in seen) >= 1.0 - 1e-12
    assert max(t for _, t, _ in seen) == pytest.approx(4.0)
    sampled = checked(TURNING.X, TURNING, states=lambda n, g: torch.rand(n, 2, generator=g, dtype=torch.float64))
    assert sampled.holds


def test_a_tolerance_of_ones_own_is_what_counts_as_zero() -> None:
    solved = SolutionOperator(TURNING.b, method="rk4", steps=10)
    assert not checked(solved, TURNING, n=6).holds
    assert checked(solved, TURNING, n=6, tolerance=1e-4).holds


def test_a_flow_that_forgets_its_start_is_not_decided_backward() -> None:
    b = VelocityField.from_function(lambda _, x: -40.0 * x)
    report = check_flow_map(of(lambda s, t, x: x * torch.exp(-40.0 * (t - s))[:, None]), b)
    assert report.holds, str(report)
    inverse = next(v for v in report.verdicts if v.name == "Inverse")
    assert "left out" in inverse.reason


def test_a_map_that_raises_fails_with_what_it_said() -> None:
    def refuse(*_: Tensor) -> Tensor:
        raise RuntimeError("no weights")

    report = check_flow_map(of(refuse))
    assert report.first_broken is not None
    assert "RuntimeError: no weights" in report.first_broken.reason
    assert not report.holds


def test_no_time_decides_nothing() -> None:
    report = checked(TURNING.X, TURNING, seconds=0.0)
    assert len(report.undecided) == len(report.verdicts)
    assert not report.holds
    assert "nothing could be decided" in str(report)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"horizon": (1.0, 1.0)}, "`horizon` must be two increasing times"),
        ({"seconds": -1.0}, "`seconds` must be a time of at least 0"),
        ({"tolerance": 0.0}, "`tolerance` must be a positive number"),
        ({"event": (0,)}, "`event` must hold positive sizes"),
        ({"n": 0}, "`n` must be a whole number"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_flow_map(TURNING.X, **options)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_map_or_field_is_refused() -> None:
    with pytest.raises(TypeError, match="`X` must be a FlowMap"):
        check_flow_map(TURNING.b)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`b` must be a VelocityField"):
        check_flow_map(TURNING.X, TURNING.X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`states` must be a tensor"):
        check_flow_map(TURNING.X, states=3)  # type: ignore[arg-type]

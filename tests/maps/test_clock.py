"""Solves in the clock of a field: against closed forms, solves without it, and their counted cost."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.testing import assert_close

from flowops import Interpolant, SolutionOperator, VelocityField, problems, reschedule
from flowops.interpolants import NAMED, cosine, linear, trigonometric, variance_preserving
from flowops.maps import SolverError
from tests.examples import Cubic, assert_near, normal

SCHEDULES = {**NAMED, "square roots": lambda: Interpolant.from_expressions("sqrt(1-t)", "sqrt(t)")}
STEEP = ["cosine", "variance_preserving", "square roots", "edm", "encoding_decoding"]
POINTS = torch.tensor([[1.0, 0.2], [-0.6, 0.9], [0.1, -1.3]], dtype=torch.float64)
TIMES = torch.tensor([[0.0, 1.0, 0.3, 1.0, 0.4], [1.0, 0.0, 1.0, 0.2, 0.9]], dtype=torch.float64)


@pytest.fixture(params=STEEP)
def schedule(request: pytest.FixtureRequest) -> Interpolant:
    return SCHEDULES[request.param]()


def gaussian(I: Interpolant) -> problems.Problem[Any, Any]:
    return problems.REFERENCE["gaussian"](I)


def mixture(I: Interpolant) -> problems.Problem[Any, Any]:
    return problems.REFERENCE["mixture"](I)


def without_clock(b: VelocityField) -> VelocityField:
    return VelocityField.from_function(lambda t, x: b(t, x))


def starts(I: Interpolant, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """States of the law at time 0."""
    law = problems.empirical(POINTS, I)
    return law.sample(0.0, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


quick = pytest.mark.usefixtures("unchecked")  # the shape checks would take most of the time of these solves


@quick
class TestAGaussianHasItsClosedForm:
    """`problem.X` is written down and knows no clock."""

    @pytest.mark.slow
    def test_every_derivative_at_both_ends(self, schedule: Interpolant) -> None:
        problem = gaussian(schedule)
        X, exact, (s, t) = SolutionOperator(problem.b), problem.X, TIMES
        x = torch.cat([problem.sample(r.item(), 1, dtype=torch.float64) for r in s])
        u = normal(5, 2, seed=2)
        assert_near(X(s, t, x), exact(s, t, x), 1e-8)
        assert_near(X.jvp(s, t, x, u), exact.jvp(s, t, x, u), 1e-8)
        assert_near(X.vjp(s, t, x, u), exact.vjp(s, t, x, u), 1e-8)
        assert_near(SolutionOperator(problem.b, adjoint=True).vjp(s, t, x, u), exact.vjp(s, t, x, u), 1e-8)
        assert_near(X.jacobian(s, t, x), exact.jacobian(s, t, x), 1e-8)
        assert_near(X.log_abs_det(s, t, x), exact.log_abs_det(s, t, x), 1e-8)
        assert_near(X.path(s, [t, 0.5, s], x)[:2], exact.path(s, [t, 0.5], x), 1e-8)
        finite = exact.dt(s, t, x).isfinite().all(1) & exact.ds(s, t, x).isfinite().all(1)
        assert finite.sum() >= 1
        for name in ("dt", "ds", "average_velocity"):
            assert_near(getattr(X, name)(s, t, x)[finite], getattr(exact, name)(s, t, x)[finite], 1e-7)

    def test_gradients_in_the_times_and_the_state_at_both_ends(self, schedule: Interpolant) -> None:
        problem = gaussian(schedule)
        x = problem.sample(0.5, 5, dtype=torch.float64)
        exact, X = problem.X, problem.b.flow_map(rtol=1e-9, atol=1e-9)
        dt, ds = exact.dt(*TIMES, x), exact.ds(*TIMES, x)
        finite = (dt.isfinite() & ds.isfinite()).all(1)
        s, t, y = (z[..., finite].clone() for z in (*TIMES, x.mT))
        y = y.mT.contiguous()
        leaves = [z.requires_grad_() for z in (s, t, y)]
        gradients = torch.autograd.grad(X(s, t, y).sum(), leaves)
        expected = (ds[finite].sum(1), dt[finite].sum(1), exact.vjp(s, t, y, torch.ones_like(y)).detach())
        for value, wanted in zip(gradients, expected, strict=True):
            assert_near(value, wanted, 1e-7)
        pushed = torch.func.jvp(lambda q: X(s.detach(), q, y.detach()), (t.detach(),), (torch.ones_like(t),))[1]
        assert_near(pushed, dt[finite], 1e-7)

    def test_single_precision(self, schedule: Interpolant) -> None:
        problem = gaussian(schedule)
        s, t = TIMES
        x = torch.cat([problem.sample(r.item(), 1, dtype=torch.float64) for r in s]).float()
        value = problem.b.flow_map()(s.float(), t.float(), x)
        assert_near(value.double(), problem.X(s, t, x.double()), 3e-5)


@quick
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["empirical", "mixture", "gaussian"])
def test_every_schedule_reaches_the_data_with_the_calls_of_the_linear_one(name: str, dtype: torch.dtype) -> None:
    options = {"rtol": 1e-8, "atol": 1e-8} if dtype == torch.float64 else {}

    def calls(I: Interpolant) -> Tensor:
        X = problems.REFERENCE[name](I).b.flow_map(max_steps=400, **options)
        return X.solve(0.0, 1.0, starts(I, 2, dtype))[1].calls

    allowed = 1.2 * calls(linear()).sum()
    assert all(calls(factory()).sum() <= allowed for factory in SCHEDULES.values() if factory is not linear)


@quick
@pytest.mark.parametrize("make", [cosine, variance_preserving])
def test_without_the_clock_a_law_of_points_is_not_reached(make: Any) -> None:
    """By every sample: rounding decides where one alone stops."""
    b, x = problems.empirical(POINTS, make()).b, starts(make(), 8)
    assert b.flow_map(max_steps=150)(0.0, 1.0, x).isfinite().all()
    with pytest.raises(SolverError):
        without_clock(b).flow_map(max_steps=150)(0.0, 1.0, x)


def by_scipy(b: VelocityField, t: float, x: Tensor) -> Tensor:
    def slope(tau: float, y: np.ndarray) -> np.ndarray:
        return b(tau, torch.from_numpy(y.copy()).reshape(x.shape)).numpy().ravel()

    solution = solve_ivp(slope, (0.0, t), x.numpy().ravel(), method="DOP853", rtol=1e-8, atol=1e-8)
    return torch.from_numpy(solution.y[:, -1]).reshape(x.shape)


@quick
def test_a_law_of_points_ends_where_scipy_comes_close_to(schedule: Interpolant) -> None:
    problem, x = problems.empirical(POINTS, schedule), starts(schedule, 3)
    X, last = problem.b.flow_map(rtol=1e-9, atol=1e-9), 0.99
    near = by_scipy(problem.b, last, x)
    assert_near(X(0.0, last, x), near, 1e-6)
    end = X(0.0, 1.0, x)
    one = torch.ones(1, dtype=torch.float64)
    if schedule.alpha(one) == 0:
        assert_near(end, POINTS[torch.cdist(near, POINTS).argmin(1)], 1e-8)
        assert problem.b.flow_map()(0.0, 1.0, x.float()).sub(end).abs().max() < 1e-4
    assert_near(X.path(0.0, [1.0, last], x), torch.stack([end, near]), 1e-6)
    assert_near(X(last, 1.0, near), end, 1e-6)


@quick
def test_the_derivatives_of_a_law_of_points_at_its_end() -> None:
    I = variance_preserving()
    X, x = problems.empirical(POINTS, I).b.flow_map(), starts(I, 1, torch.float32)
    for value in (X.vjp(0.0, 1.0, x, torch.ones_like(x)), X.ds(0.0, 1.0, x)):
        assert value.abs().max() < 1e-4  # the map to a point is constant
    end = X(0.0, 1.0, x)
    assert_close(X.average_velocity(0.0, 1.0, x), end - x)
    assert_close(X.dt(0.0, 1.0, x), X.b(1.0, end))


@quick
@pytest.mark.parametrize(
    "make", [variance_preserving, pytest.param(NAMED["encoding_decoding"], marks=pytest.mark.slow)]
)
def test_an_event_is_that_of_a_solve_without_the_clock(make: Any) -> None:
    b = mixture(make()).b
    x = starts(make(), 2).requires_grad_()

    def g(t: Tensor, y: Tensor) -> Tensor:
        return y[:, 0] + 0.5 * t - 0.4

    found = []
    for field in (b, without_clock(b)):
        event = field.flow_map().until(0.0, 1.0, x, g)
        found.append((event.occurred, event.time, event.state, *torch.autograd.grad(event.time.sum(), x)))
    assert found[0][0].any()
    for value, other in zip(*found, strict=True):
        assert_near(value.double(), other.double(), 1e-7)


def test_no_time_changes_nothing(schedule: Interpolant) -> None:
    x, b = normal(404, 2), mixture(schedule).b  # many: of few the rounding of two scales is none
    t = torch.linspace(0, 1, 101, dtype=torch.float64).repeat(4)
    assert torch.equal(b.flow_map()(t, t, x), x)
    assert torch.equal(b.flow_map().jvp(t, t, x, x), x)


def test_paths_events_and_derivatives_have_their_shapes() -> None:
    X, x = mixture(cosine()).b.flow_map(rtol=1e-3, atol=1e-3), starts(cosine(), 2)
    assert X.path(0.0, [0.5, torch.tensor([0.2, 1.0]).double()], x).shape == (2, 2, 2)
    assert X.until(0.0, 1.0, x, lambda _, y: y[:, 0] - 0.1).time.shape == (2,)
    assert X.log_abs_det(0.0, 0.5, x.requires_grad_()).shape == (2,)


def test_images_single_samples_and_fixed_steps() -> None:
    b = problems.empirical(normal(3, 2, 2, 2), cosine()).b
    x = normal(2, 2, 2, 2, seed=4)
    X = b.flow_map()
    assert_close(X(0.0, 0.8, x)[1:], X(0.0, 0.8, x[1:]))
    assert X(0.0, 1.0, x[:0]).shape == (0, 2, 2, 2)
    assert_near(b.flow_map(method="rk4", steps=40)(0.0, 0.8, x), X(0.0, 0.8, x), 1e-4)


@pytest.mark.parametrize(
    "ask",
    [
        lambda X, x: X(0.0, 1.0, x),
        lambda X, x: X.path(0.0, [0.5, 1.0], x),
        lambda X, x: X.until(0.0, 1.0, x, lambda _, y: y[:, 0]),
    ],
    ids=["call", "path", "until"],
)
def test_an_error_says_whose_time_it_names(ask: Any) -> None:
    with pytest.raises(SolverError) as caught:
        ask(mixture(cosine()).b.flow_map(max_steps=2), starts(cosine(), 1))
    assert caught.value.__notes__ == ["Its time and state are those of the field's own clock, b.clock()."]


def test_a_field_without_a_better_clock_has_none() -> None:
    assert Cubic().clock() is None
    falling = Interpolant.from_expressions("1", "sin(pi*t)")
    assert mixture(falling).b.clock() is None
    assert reschedule(Cubic(), linear(), trigonometric()).clock() is None


@quick
def test_a_field_moved_to_a_steep_schedule_is_solved_where_it_was() -> None:
    I, J = linear(), variance_preserving()
    asked: list[Tensor] = []
    inner = problems.empirical(POINTS, I).b

    def seen(t: Tensor, x: Tensor) -> Tensor:
        asked.append(t)
        return inner(t, x)

    X = reschedule(VelocityField.from_function(seen), I, J).flow_map(rtol=1e-8, atol=1e-8)
    x = starts(J, 2)
    assert torch.cdist(X(0.0, 1.0, x), POINTS).amin(1).max() < 1e-6
    moved = sum(map(len, asked))
    asked.clear()
    VelocityField.from_function(seen).flow_map(rtol=1e-8, atol=1e-8)(0.0, 1.0, starts(I, 2))
    assert moved <= 1.2 * sum(map(len, asked))
    twice = reschedule(inner, I, J).flow_map()
    assert_near(twice(0.0, 1.0, x), problems.empirical(POINTS, J).b.flow_map()(0.0, 1.0, x), 1e-8)


@quick
@pytest.mark.parametrize("names", [("cosine", "cosine"), ("square roots", "cosine")])
def test_the_average_velocity_of_a_moved_law_of_points_is_the_quotient(names: tuple[str, str]) -> None:
    I, J = (SCHEDULES[name]() for name in names)
    X, x = reschedule(problems.empirical(POINTS, I).b, I, J).flow_map(max_steps=400), starts(J, 1)
    assert_close(X.average_velocity(0.0, 1.0, x), X(0.0, 1.0, x) - x)


def test_the_reach_is_the_distance_of_both_times_from_a_steep_end() -> None:
    s, t = torch.tensor([0.9, 0.97, 1.0, 0.0]).double(), torch.tensor([0.95, 0.95, 0.5, 0.2]).double()
    clock = problems.empirical(POINTS, cosine()).b.clock()
    assert clock is not None
    assert_close(clock.reach(s, t), torch.tensor([0.05, 0.03, 0.0, 0.8]).double())


@quick
class TestDensities:
    """Those of a mixture are written down; without the clock that of square roots is not found at all."""

    FEW: ClassVar[dict[str, Any]] = {"rtol": 1e-9, "atol": 1e-9, "max_steps": 100}

    def test_at_the_data_and_before(self, schedule: Interpolant, generator: torch.Generator) -> None:
        problem, times = mixture(schedule), torch.tensor([0.7, 1.0, 0.2], dtype=torch.float64)
        x = torch.cat([problem.sample(t.item(), 1, generator=generator, dtype=torch.float64) for t in times])

        def base(y: Tensor) -> Tensor:
            return problem.log_prob(0.0, y)

        found = problem.b.log_prob(x, times, base, **self.FEW)
        assert_close(found, problem.log_prob(times, x), rtol=1e-8, atol=1e-8)

    def test_derivatives(self, generator: torch.Generator) -> None:
        problem, t = mixture(SCHEDULES["square roots"]()), torch.tensor([0.6, 0.3], dtype=torch.float64)
        x = torch.cat([problem.sample(time.item(), 1, generator=generator, dtype=torch.float64) for time in t])
        found, exact = (
            torch.autograd.grad(f(z, q).sum(), (z, q))
            for f in (problem.b.log_prob, lambda z, q: problem.log_prob(q, z))
            for z, q in [(x.clone().requires_grad_(), t.clone().requires_grad_())]
        )
        for ours, written in zip(found, exact, strict=True):
            assert_close(ours, written, rtol=1e-6, atol=1e-7)

    def test_negative_control(self, generator: torch.Generator) -> None:
        problem, few = mixture(SCHEDULES["square roots"]()), {**self.FEW, "max_steps": 40}
        x = problem.sample(0.6, 2, generator=generator, dtype=torch.float64)
        assert problem.b.log_prob(x, 0.6, **few).isfinite().all()
        with pytest.raises(SolverError, match="failed for 2 of 2 samples"):
            without_clock(problem.b).log_prob(x, 0.6, **few)

"""A change of schedule against the Gaussian closed form of both schedules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, Interpolant, LearnedMap, SolutionOperator, VelocityField, problems, reschedule
from flowops.interpolants import (
    cosine,
    edm,
    encoding_decoding,
    linear,
    trigonometric,
    variance_exploding,
    variance_preserving,
)
from tests.examples import (
    EVENT_IDS,
    EVENTS,
    GaussianField,
    GaussianFlow,
    TwoTimeNetwork,
    assert_near,
    normal,
    over,
    uniform,
)

MEAN, VARIANCE = 1.5, 0.3
PAIRS: dict[str, tuple[Callable[[], Interpolant], Callable[[], Interpolant]]] = {
    "linear to trigonometric": (linear, trigonometric),
    "trigonometric to linear": (trigonometric, linear),
    "linear to cosine": (linear, cosine),
    "linear to variance preserving": (linear, variance_preserving),
    "linear to variance exploding": (linear, variance_exploding),
    "trigonometric to edm": (trigonometric, edm),
    "variance preserving to variance exploding": (variance_preserving, variance_exploding),
}
SCHEDULES = [linear, trigonometric, cosine, variance_preserving, variance_exploding, edm]
pairs = pytest.mark.parametrize(("old", "new"), PAIRS.values(), ids=list(PAIRS))


def field(I: Interpolant) -> VelocityField:
    return GaussianField(I, MEAN, VARIANCE)


def flow(I: Interpolant) -> FlowMap:
    return GaussianFlow(I, MEAN, VARIANCE)


def states(I: Interpolant, t: Tensor, *event: int) -> Tensor:
    """States of the size of $I_t$."""
    x = normal(len(t), *event, seed=5)
    return over(torch.sqrt(I.alpha(t) ** 2 + I.beta(t) ** 2), x) * x


@pairs
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_fields_and_maps_become_those_of_the_new_schedule(old: Any, new: Any, event: tuple[int, ...]) -> None:
    I, J = old(), new()
    s, t = uniform(5), uniform(5, seed=1)
    x = states(J, s, *event)
    assert_close(reschedule(flow(I), I, J)(s, t, x), flow(J)(s, t, x), rtol=1e-9, atol=1e-9)
    assert_close(reschedule(field(I), I, J)(s, x), field(J)(s, x), rtol=1e-7, atol=1e-7)


@pairs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ends_are_as_exact_as_the_operator(old: Any, new: Any, dtype: torch.dtype) -> None:
    I, J = old(), new()
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    tolerance = 40 * torch.finfo(dtype).eps
    truth, moved = (problems.gaussian([MEAN] * 2, VARIANCE, K) for K in (J, I))
    X, b = reschedule(moved.X, I, J), reschedule(moved.b, I, J)
    x = states(J, ends.double(), 2).to(dtype)
    for s, t in ((ends, ends.flip(0)), (ends, ends), (ends, torch.full_like(ends, 0.5))):
        for name, args in (("__call__", (s, t)), ("dt", (t, s)), ("ds", (s, t))):
            value = getattr(X, name)(*args, x)
            exact = getattr(truth.X, name)(*(r.double() for r in args), x.double())
            assert value.dtype == dtype
            assert (value - exact).abs().max() <= tolerance * (1 + exact.abs().max()), name
    exact = truth.b(ends.double(), x.double())
    assert (b(ends, x) - exact).abs().max() <= tolerance * (1 + exact.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_callable_with_an_infinite_slope_is_met_beside_its_end(dtype: torch.dtype) -> None:
    J = Interpolant(lambda t: (1 - t).sqrt(), lambda t: t)
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    x = normal(2, 2).to(dtype)
    exact = problems.gaussian([MEAN] * 2, VARIANCE, Interpolant.from_expressions("sqrt(1-t)", "t")).b(ends, x)
    value = reschedule(problems.gaussian([MEAN] * 2, VARIANCE, linear()).b, linear(), J)(ends, x)
    assert (value - exact).abs().max() <= 20 * torch.finfo(dtype).eps ** (2 / 3) * (1 + exact.abs().max())


@pytest.mark.parametrize("new", [linear, trigonometric, cosine])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_old_schedule_may_leave_the_base_like_a_square_root(new: Any, dtype: torch.dtype) -> None:
    I, J = Interpolant.from_expressions("sqrt(1-t)", "sqrt(t)"), new()
    s, t, x = torch.tensor([0.0, 1e-12, 1.0], dtype=dtype), torch.tensor([0.6, 0.0, 0.0], dtype=dtype), normal(3, 2)
    moved, exact = (problems.gaussian([MEAN] * 2, VARIANCE, K) for K in (I, J))
    tolerance = max(1e-8, 40 * torch.finfo(dtype).eps)
    for value, wanted in (
        (reschedule(moved.X, I, J)(s, t, x.to(dtype)), exact.X(s.double(), t.double(), x)),
        (reschedule(moved.b, I, J)(s, x.to(dtype)), exact.b(s.double(), x)),
    ):
        assert_near(value.double(), wanted, tolerance)


class TestATruncatedClock:
    OLD, NEW = variance_preserving(), linear()

    def gaussian(self, I: Interpolant) -> Any:
        return problems.gaussian([MEAN], VARIANCE, I)

    def laws_apart(self, t: float) -> float:
        """W2 between the normal laws at `t` that the truncated map and the right one make of the base."""
        states = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        X = reschedule(self.gaussian(self.OLD).X, self.OLD, self.NEW, truncate=True)
        y, z = X(0.0, t, states)[:, 0], self.gaussian(self.NEW).X(0.0, t, states)[:, 0]
        return torch.hypot(y[0] - z[0], (y[1] - y[0]) - (z[1] - z[0])).item()

    def test_its_defect_is_bounded_and_the_bound_is_sharp(self) -> None:
        change = reschedule(self.gaussian(self.OLD).b, self.OLD, self.NEW, truncate=True).change
        start, end = change.defect(1, MEAN**2 + VARIANCE)
        ratio = (self.OLD.beta(0.0) / self.OLD.alpha(0.0)).item()
        truncated = ratio / (1 + ratio)
        assert end == 0
        assert 0.5 * start < self.laws_apart(truncated) <= start < 0.0105
        assert 0.2 * start < self.laws_apart(1.0) <= start  # this flow contracts

    def test_nothing_is_lost_beyond_the_truncated_end(self) -> None:
        t, x = torch.tensor([0.0066, 0.3, 1.0], dtype=torch.float64), normal(3, 1)
        b = reschedule(self.gaussian(self.OLD).b, self.OLD, self.NEW, truncate=True)
        assert_close(b(t, x), self.gaussian(self.NEW).b(t, x))
        X, exact = reschedule(self.gaussian(self.OLD).X, self.OLD, self.NEW, truncate=True), self.gaussian(self.NEW).X
        assert_close(X(t, t.flip(0), x), exact(t, t.flip(0), x))
        assert_close(X.dt(t, t.flip(0), x), exact.dt(t, t.flip(0), x))
        assert_close(X.ds(t, t.flip(0), x), exact.ds(t, t.flip(0), x))

    @pytest.mark.usefixtures("unchecked")
    def test_its_field_is_that_of_its_map(self) -> None:
        b = reschedule(self.gaussian(self.OLD).b, self.OLD, self.NEW, truncate=True)
        X = reschedule(self.gaussian(self.OLD).X, self.OLD, self.NEW, truncate=True)
        t, x = torch.tensor([0.0, 0.003, 0.2], dtype=torch.float64), normal(3, 1)
        assert_close(X.velocity()(t, x), b(t, x))
        assert_close(b(t[:2], x[:2]), x[:2] * (2 * t[:2] - 1)[:, None] / (t[:2] ** 2 + (1 - t[:2]) ** 2)[:, None])
        assert_close(b.flow_map()(t, 1.0, x), X(t, 1.0, x), rtol=1e-9, atol=1e-9)
        assert_close(X(0.4, 0.0, X(0.0, 0.4, x)), x)

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize(
        ("size", "moment", "sentence"),
        [
            (0, 1.0, "`size` must be a whole number of at least 1, got 0"),
            ("2", 1.0, "`size` must be a whole number of at least 1, got '2'"),
            (2, -1.0, "`second_moment` must not be negative, got -1.0; pass the mean of"),
        ],
    )
    def test_a_defect_of_no_law(self, size: Any, moment: float, sentence: str) -> None:
        cut: Any = reschedule(Identity(), self.OLD, self.NEW, truncate=True)
        with pytest.raises(ValueError, match=sentence):
            cut.change.defect(size, moment)

    def test_the_other_end_and_ranges_that_fit(self) -> None:
        old = variance_exploding(0.05, 20.0)
        cut: Any = reschedule(Identity(), old, linear(), truncate=True)
        start, end = cut.change.defect(1, 4.0)
        assert_close((start, end), (0.0953, 0.05), rtol=0.01, atol=0)
        fits: Any = reschedule(Identity(), linear(), old, truncate=True)
        assert not fits.change.truncated
        assert fits.change.defect(1, 4.0) == (0.0, 0.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_schedule_changes_nothing(schedule: Callable[[], Interpolant], dtype: torch.dtype) -> None:
    I = schedule()
    s, t = uniform(5, dtype=dtype), uniform(5, seed=1, dtype=dtype)
    x = states(I, s.double(), 3).to(dtype)
    tolerance = 200 * torch.finfo(dtype).eps
    scale = 1 + flow(I)(s, t, x).abs().max().item()
    assert_close(reschedule(flow(I), I, I)(s, t, x), flow(I)(s, t, x), rtol=tolerance, atol=tolerance * scale)
    speed = field(I)(s, x)
    difference = reschedule(field(I), I, I)(s, x) - speed
    assert difference.abs().max() < 20 * torch.finfo(dtype).eps ** 0.75 * (1 + speed.abs().max())


@pytest.mark.parametrize(("old", "new"), [(linear, trigonometric), (trigonometric, cosine)])
def test_there_and_back_again(old: Any, new: Any) -> None:
    I, J = old(), new()
    b, X = (
        VelocityField.from_function(lambda t, x: torch.sin(x + over(t, x))),
        FlowMap.from_function(TwoTimeNetwork((3,))),
    )
    s, t, x = uniform(5), uniform(5, seed=1), normal(5, 3)
    assert_close(reschedule(reschedule(X, I, J), J, I)(s, t, x), X(s, t, x), rtol=1e-9, atol=1e-9)
    assert_close(reschedule(reschedule(b, I, J), J, I)(t, x), b(t, x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("times", [(0.2, 0.9), (1, 0), (torch.tensor(0.3).double(), 0.8), (0.4, uniform(4))], ids=str)
def test_every_kind_of_time(times: tuple[Any, Any]) -> None:
    I, J = linear(), trigonometric()
    x = normal(4, 3)
    assert_close(reschedule(flow(I), I, J)(*times, x), flow(J)(*times, x), rtol=1e-9, atol=1e-9)
    assert_close(reschedule(field(I), I, J)(times[1], x), field(J)(times[1], x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(batch: int) -> None:
    I, J = linear(), trigonometric()
    assert reschedule(flow(I), I, J)(0.2, 0.7, normal(batch, 3)).shape == (batch, 3)
    assert reschedule(field(I), I, J)(0.2, normal(batch, 3)).shape == (batch, 3)


def test_equal_times_are_the_identity() -> None:
    I, J = linear(), variance_preserving()
    x, t = normal(4, 3), uniform(4)
    assert_close(reschedule(flow(I), I, J)(t, t, x), x)


@pairs
def test_overridden_derivatives_equal_the_generic_ones(old: Any, new: Any) -> None:
    I, J = old(), new()
    s, t = 0.1 + 0.8 * uniform(4), 0.1 + 0.8 * uniform(4, seed=1)
    x, u, w = states(J, s, 3), normal(4, 3, seed=6), normal(4, 3, seed=7)
    X = reschedule(GaussianFlow(I), I, J)
    for value, expected in zip(X.value_and_dt(s, t, x), FlowMap.value_and_dt(X, s, t, x), strict=True):
        assert_near(value, expected, 1e-6)
    assert_near(X.ds(s, t, x), FlowMap.ds(X, s, t, x), 1e-6)
    assert_near(X.jvp(s, t, x, u), FlowMap.jvp(X, s, t, x, u), 1e-6)
    assert_near(X.vjp(s, t, x, w), FlowMap.vjp(X, s, t, x, w), 1e-6)
    assert_near(X.material_derivative(s, t, x, u), FlowMap.material_derivative(X, s, t, x, u), 1e-6)
    assert_close(X.jacobian(s, t, x), FlowMap.jacobian(X, s, t, x))
    assert_close(X.log_abs_det(s, t, x), FlowMap.log_abs_det(X, s, t, x))
    assert_close(X.velocity()(t, x), FlowMap.velocity(X)(t, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("old", "truncate"), [(cosine, False), (variance_preserving, True)])
def test_generic_derivatives_in_the_times_are_right_where_the_old_rates_are_infinite(old: Any, truncate: bool) -> None:
    I, J = old(), linear()
    problem = problems.gaussian(torch.tensor([MEAN, -0.2]), VARIANCE, I)
    X = reschedule(problem.X, I, J, truncate=truncate)
    s, t, x = torch.tensor([1.0, 0.2]).double(), torch.tensor([0.3, 1.0]).double(), normal(2, 2)
    plain = FlowMap.from_function(lambda s, t, x: X(s, t, x))
    assert_near(plain.dt(s, t, x), X.dt(s, t, x), 1e-9)
    assert_near(plain.ds(s, t, x), X.ds(s, t, x), 1e-9)
    end = t.clone().requires_grad_()
    (slope,) = torch.autograd.grad(X(s, end, x).sum(), end)
    assert_near(slope, X.dt(s, t, x).sum(1), 1e-9)


@pytest.mark.parametrize("old", [linear, cosine])
def test_generic_derivatives_in_the_times_are_not_zero_where_the_new_rates_are_infinite(old: Any) -> None:
    """They do not pass there: no number is better than one that is wrong."""
    X = reschedule(problems.gaussian(torch.tensor([MEAN, -0.2]), VARIANCE, old()).X, old(), cosine())
    slope = FlowMap.from_function(lambda s, t, x: X(s, t, x)).dt(0.2, 1.0, normal(2, 2))
    assert slope.isnan().all()
    assert X.dt(0.2, 1.0, normal(2, 2)).isfinite().all()


@pytest.mark.usefixtures("unchecked")  # the shape checks would take most of the time of these solves
def test_a_solution_operator_can_be_rescheduled() -> None:
    I, J = linear(), trigonometric()
    s, t = uniform(4), uniform(4, seed=1)
    x, u = states(J, s, 2), normal(4, 2, seed=6)
    X, exact = reschedule(SolutionOperator(field(I), rtol=1e-9, atol=1e-9), I, J), flow(J)
    assert_near(X(s, t, x), exact(s, t, x), 1e-7)
    assert_near(X.dt(s, t, x), exact.dt(s, t, x), 1e-7)
    assert_near(X.ds(s, t, x), exact.ds(s, t, x), 1e-7)
    assert_near(X.jvp(s, t, x, u), exact.jvp(s, t, x, u), 1e-7)
    assert_near(X.vjp(s, t, x, u), exact.vjp(s, t, x, u), 1e-7)
    assert_near(X.material_derivative(s, t, x, u), exact.material_derivative(s, t, x, u), 1e-7)
    assert_near(X.log_abs_det(s, t, x), exact.log_abs_det(s, t, x), 1e-7)
    assert_near(X.average_velocity(s, t, x), exact.average_velocity(s, t, x), 1e-7)
    assert_near(X.velocity()(t, x), field(J)(t, x), 1e-7)
    moved = reschedule(field(I), I, J)
    assert_near(SolutionOperator(moved)(s, t, x), exact(s, t, x), 1e-7)


def test_a_learned_map_is_rescheduled_with_its_parameters() -> None:
    I, J = linear(), trigonometric()
    X = LearnedMap(TwoTimeNetwork((3,)))
    rescheduled = reschedule(X, I, J)
    assert [id(p) for p in rescheduled.parameters()] == [id(p) for p in X.parameters()]
    x = normal(4, 3)
    assert_close(rescheduled(0.4, 0.4, x), x)
    rescheduled(0.1, 0.9, x).sum().backward()
    assert X.network.outward.grad is not None
    field = rescheduled.velocity()
    assert_close(field(0.3, x), reschedule(X.velocity(), I, J)(0.3, x))


@pairs
def test_gradients_in_states_and_parameters_are_finite_at_both_ends(old: Any, new: Any) -> None:
    I, J = old(), new()
    X, ends = LearnedMap(TwoTimeNetwork((2,))), torch.tensor([0.0, 1.0]).double()
    x = states(J, ends, 2).requires_grad_()
    rescheduled = reschedule(X, I, J)
    for value in (rescheduled(ends, ends.flip(0), x), rescheduled.velocity()(ends, x), rescheduled.dt(ends, ends, x)):
        gradients = torch.autograd.grad(value.sum(), [x, *X.parameters()])
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradients_in_the_times_pass_through_the_root() -> None:
    I, J = linear(), trigonometric()
    s, t, x = uniform(4).requires_grad_(), uniform(4, seed=1).requires_grad_(), normal(4, 3)
    gradients = torch.autograd.grad(reschedule(flow(I), I, J)(s, t, x).sum(), [s, t])
    for gradient, expected in zip(gradients, torch.autograd.grad(flow(J)(s, t, x).sum(), [s, t]), strict=True):
        assert_close(gradient, expected, rtol=1e-7, atol=1e-7)


class TestRefusals:
    def test_a_latent(self) -> None:
        for old, new, name in ((encoding_decoding(), linear(), "old"), (linear(), encoding_decoding(), "new")):
            sentence = (
                f"`{name}` must have two terms, got one with a gamma term; a schedule change is defined for alpha"
            )
            for operator in (Identity(), VelocityField.from_function(lambda _, x: x)):
                with pytest.raises(ValueError, match=re.escape(sentence)):
                    reschedule(operator, old, new)

    def test_a_range_outside(self) -> None:
        sentence = (
            "`new` must have its signal-to-noise ratios beta/alpha inside those of `old`, got [0.02, 100] outside "
            "[0.1, 10]; take an old schedule that reaches further, or pass truncate=True to hold the clock there."
        )
        with pytest.raises(ValueError, match=re.escape(sentence)):
            reschedule(Identity(), variance_exploding(0.1, 10.0), variance_exploding())
        with pytest.raises(ValueError, match="`new` must have its signal-to-noise ratios"):
            reschedule(Identity(), variance_preserving(), linear())

    def test_a_schedule_that_is_not_monotone(self) -> None:
        falling = Interpolant.from_expressions("1", "sin(pi*t)")
        sentence = "`old` must have an increasing signal-to-noise ratio, it does not increase at t = 0.5"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            reschedule(Identity(), falling, linear())

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("other", ["linear", None, lambda t: t])
    def test_what_is_no_interpolant(self, other: Any) -> None:
        for arguments, name in (((other, linear()), "old"), ((linear(), other), "new")):
            sentence = f"`{name}` must be an Interpolant, got {type(other).__name__}; build one first."
            with pytest.raises(TypeError, match=re.escape(sentence)):
                reschedule(Identity(), *arguments)

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("other", ["yes", 1, None])
    def test_a_truncation_that_is_neither_true_nor_false(self, other: Any) -> None:
        sentence = f"`truncate` must be True or False, got {other!r}; pass True to hold the clock."
        for operator in (Identity(), VelocityField.from_function(lambda _, x: x)):
            with pytest.raises(TypeError, match=re.escape(sentence)):
                reschedule(operator, linear(), trigonometric(), truncate=other)

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("other", [linear(), None, lambda _, x: x])
    def test_what_is_no_operator(self, other: Any) -> None:
        sentence = f"`operator` must be a VelocityField or a FlowMap, got {type(other).__name__}; wrap it."
        with pytest.raises(TypeError, match=re.escape(sentence)):
            reschedule(other, linear(), trigonometric())


class Identity(FlowMap):
    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x


def test_schedules_with_parameters_in_single_precision_are_compared_in_double() -> None:
    class Power(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.exponent = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, t: torch.Tensor) -> torch.Tensor:
            return t**self.exponent

    power = Power()
    new = Interpolant(lambda t: 1 - power(t), power)
    b = reschedule(VelocityField.from_function(lambda _t, x: -x), linear(), new)
    assert b(0.5, torch.ones(2, 3)).isfinite().all()

"""Adaptive solves: where the field is asked, which sample controls the error, chunks, and failures in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops._solvers import Solver, Starts
from flowops.maps import SolverError
from tests.examples import Cubic, CubicFlow, Labelled, assert_near, mild, normal, over, uniform


class Recorder(VelocityField):
    """`Cubic`, remembering which samples it was asked for at which times."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, t: Tensor, x: Tensor, *, row: Tensor) -> Tensor:
        self.asked.append((row, t.detach()))
        return Cubic().forward(t, x)

    def stayed_inside(self, s: Tensor, t: Tensor) -> bool:
        """Whether no sample was asked for outside its interval."""
        low, high = torch.minimum(s, t), torch.maximum(s, t)
        return bool(self.asked) and all(((low[k] <= tau) & (tau <= high[k])).all() for k, tau in self.asked)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e-2], ids=["", "slow"])  # a slow field invites a first probe beyond the end
@pytest.mark.parametrize(
    "solve",
    [
        lambda X, s, t, x: X(s, t, x),
        lambda X, s, t, x: X.jvp(s, t, x, x),
        lambda X, s, t, x: X.vjp(s, t, x, x),
        lambda X, s, t, x: X.ds(s, t, x),
        lambda X, s, t, x: X.average_velocity(s, t, x),
    ],
    ids=["value", "jvp", "vjp", "ds", "average_velocity"],
)
def test_the_field_is_never_asked_outside_the_interval(
    solve: Callable[..., Tensor], dtype: torch.dtype, size: float
) -> None:
    s = torch.tensor([0.0, 1.0, 0.3, 0.6], dtype=dtype)
    t = torch.tensor([1.0, 0.0, 0.8, 0.6], dtype=dtype)
    b = Recorder()
    solve(SolutionOperator(b).given(row=torch.arange(4)), s, t, size * mild(4, 2, dtype=dtype))
    assert b.stayed_inside(s, t)
    for i in range(3):  # the last step of a sample that moves ends on its end: nothing is interpolated
        assert min((tau[k == i] - t[i]).abs().max() for k, tau in b.asked if (k == i).any()) == 0


def test_the_gradient_stays_inside_the_interval_too() -> None:
    s, t = torch.tensor([0.0, 1.0, 0.3, 0.6]).double(), torch.tensor([1.0, 0.0, 0.8, 0.6]).double()
    for adjoint in (False, True):
        b = Recorder()
        X = SolutionOperator(b, adjoint=adjoint).given(row=torch.arange(4))
        X(s, t, mild(4, 2).requires_grad_()).sum().backward()
        assert b.stayed_inside(s, t)


@pytest.mark.parametrize("size", [1, 400])
def test_the_worst_sample_controls_the_error(size: int) -> None:
    # One sample relaxes two hundred times faster than the others, towards a moving target.
    rate = torch.full((size,), 1.0).double()
    rate[size // 2] = 200.0

    def field(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
        return -rate[:, None] * (x - torch.sin(7 * t)[:, None]) + 7 * torch.cos(7 * t)[:, None]

    x = 1 + normal(size, 1)
    b = VelocityField.from_function(field).given(rate=rate)
    value = SolutionOperator(b, rtol=1e-7, atol=1e-7)(0.0, 1.0, x)
    exact = torch.sin(torch.tensor(7.0).double()) + x * torch.exp(-rate)[:, None]
    assert_close(value, exact, rtol=0, atol=1e-6)


def test_a_calm_batch_does_not_dilute_the_error_of_a_busy_sample() -> None:
    def worst_error(rate: Tensor) -> float:
        b = VelocityField.from_function(lambda t, x, rate: rate * torch.cos(rate * t) * x).given(rate=rate)
        value = SolutionOperator(b, method="dopri5", rtol=1e-6, atol=1e-6)(0.0, 1.0, torch.ones_like(rate))
        return (value - torch.exp(torch.sin(rate))).abs().max().item()

    alone, beside = torch.full((1,), 20.0).double(), torch.zeros(2000).double()
    beside[1000] = 20.0
    assert worst_error(beside) < 1.01 * worst_error(alone) < 2e-5


def test_the_start_of_every_step_is_told_on_the_way() -> None:
    b, s, t, x = Cubic(), uniform(4), uniform(4, seed=1), mild(4, 2)
    for tracked in (False, True):
        starts = Starts()
        (end,) = Solver().solve(
            lambda _: lambda tau, y: (b(tau, y),), (x.requires_grad_(tracked),), s, t, starts=starts
        )
        assert starts.r is not None
        assert starts.y is not None
        assert torch.equal(starts.r[0], torch.zeros(4).double())
        assert torch.equal(starts.y[0], x)
        for i in range(4):
            places = starts.r[:, i][starts.r[:, i].isfinite()]
            assert (places.diff() > 0).all()
            assert places[-1] < 1
            for place, state in zip(places, starts.y[:, i], strict=False):
                assert_near(state[None], CubicFlow()(s[i], torch.lerp(s[i], t[i], place), x[i : i + 1]), 1e-8)
        assert_near(end, CubicFlow()(s, t, x), 1e-8)


@pytest.mark.parametrize("event", [(), (3,), (3, 4, 4)])
def test_chunks_change_nothing_but_the_steps(event: tuple[int, ...]) -> None:
    s, t, x = uniform(7), uniform(7, seed=1), mild(7, *event)
    values = [SolutionOperator(Cubic(), chunk=chunk)(s, t, x) for chunk in (1, 2, 7, 100)]
    for value in values:
        assert_near(value, CubicFlow()(s, t, x), 1e-8)
    assert torch.equal(values[2], values[3])


def test_gradients_find_their_sample_through_chunks() -> None:
    for adjoint in (False, True):
        s, t, x = uniform(5), uniform(5, seed=1), mild(5, 2).requires_grad_()
        X = SolutionOperator(Cubic(), chunk=2, adjoint=adjoint)
        (gradient,) = torch.autograd.grad(X(s, t, x).sum(), x)
        (expected,) = torch.autograd.grad(CubicFlow()(s, t, x).sum(), x)
        assert_near(gradient, expected, 1e-8)


@pytest.mark.parametrize("adjoint", [False, True])
def test_equal_times_return_the_state_exactly(adjoint: bool) -> None:
    X, x = SolutionOperator(Cubic(), adjoint=adjoint), normal(3, 2)
    still, moving = torch.tensor([0.4, 0.7, 0.9]).double(), torch.tensor([0.4, 0.8, 0.9]).double()
    assert torch.equal(X(0.4, 0.4, x), x)
    assert torch.equal(X(still, still, x), x)
    assert torch.equal(X(still, moving, x)[[0, 2]], x[[0, 2]])
    assert X(0.4, 0.4, x).data_ptr() != x.data_ptr()


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("still", [False, True], ids=["beside moving samples", "alone"])
def test_the_slope_in_the_times_is_not_lost_where_they_are_equal(adjoint: bool, still: bool) -> None:
    x = mild(3)
    s = torch.tensor([0.2, 0.5, 0.8]).double()
    t = (s if still else torch.tensor([0.2, 0.9, 0.8]).double()).clone().requires_grad_()
    s.requires_grad_()
    by_s, by_t = torch.autograd.grad(SolutionOperator(Cubic(), adjoint=adjoint)(s, t, x).sum(), [s, t])
    expected = torch.autograd.grad(CubicFlow()(s, t, x).sum(), [s, t])
    assert_near(by_s, expected[0], 1e-8)
    assert_near(by_t, expected[1], 1e-8)


def test_a_field_that_is_singular_at_rest_does_not_disturb_the_others() -> None:
    singular = VelocityField.from_function(lambda t, x: x / (t - 1))
    s, t, x = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 0.5]).double(), normal(2)
    value = SolutionOperator(singular)(s, t, x)
    assert torch.equal(value[0], x[0])
    assert_near(value[1], x[1] / 2, 1e-8)
    assert torch.equal(SolutionOperator(singular)(1.0, 1.0, x), x)


class TestFailures:
    ADVICE = (
        "; end the interval before the singularity, loosen rtol and atol, or use a fixed-step method such as "
        "method='rk4'."
    )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_blow_up_is_located(self, dtype: torch.dtype) -> None:
        square = VelocityField.from_function(lambda _, x: x**2)
        x = torch.tensor([[0.1], [2.0]], dtype=dtype)  # the second sample is infinite at t = 1/2
        with pytest.raises(SolverError) as failure:
            SolutionOperator(square, rtol=1e-3, atol=1e-3)(0.0, 1.0, x)
        found = re.fullmatch(
            r"The (dopri\d) solve failed near time (\S+) at a state of norm (\S+) \(sample (\d) of 2\): (.*)",
            str(failure.value),
        )
        assert found
        assert found[1] == {torch.float32: "dopri5", torch.float64: "dopri8"}[dtype]
        assert float(found[2]) == pytest.approx(0.5, abs=1e-3)
        assert float(found[3]) > 1e6
        assert found[4] == "1"
        assert found[5].endswith(self.ADVICE)
        assert failure.value.samples == (1,)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_a_field_that_is_not_finite_is_located(self, bad: float) -> None:
        def field(t: Tensor, x: Tensor) -> Tensor:
            return torch.ones_like(x).masked_fill((over(t, x) > 0.5) & (x > 5), bad)

        x = torch.tensor([[0.0], [3.0], [6.0]]).double()
        with pytest.raises(SolverError) as failure:
            SolutionOperator(VelocityField.from_function(field))(0.0, 1.0, x)
        found = re.fullmatch(
            r"The dopri8 solve failed near time (\S+) at a state of norm (\S+) \(sample (\d) of 3\): "
            r"the field is not finite there" + re.escape(self.ADVICE),
            str(failure.value),
        )
        assert found
        assert float(found[1]) == pytest.approx(0.5, abs=1e-6)
        assert float(found[2]) == pytest.approx(6.5, abs=1e-3)
        assert found[3] == "2"

    def test_a_field_that_is_not_finite_from_the_start(self) -> None:
        nowhere = VelocityField.from_function(lambda _, x: x + torch.nan)
        with pytest.raises(SolverError, match="failed near time 0 .*the field is not finite there"):
            SolutionOperator(nowhere)(0.0, 1.0, normal(2, 3))

    def test_too_many_steps_are_given_up(self) -> None:
        fast = VelocityField.from_function(lambda t, x: torch.cos(300 * over(t, x)) + 0 * x)
        with pytest.raises(SolverError, match=r"max_steps exceeded \(5\); end the interval") as failure:
            SolutionOperator(fast, max_steps=5)(0.0, 1.0, normal(2, 3))
        assert isinstance(failure.value, RuntimeError)

    @pytest.mark.usefixtures("unchecked")
    def test_the_others_are_finished_first(self) -> None:
        square = VelocityField.from_function(lambda _, x: x**2)  # x / (1 - t x)
        x = torch.tensor([0.5, 3.0, -1.0, 2.0, 0.1]).double()
        with pytest.raises(SolverError) as failure:
            SolutionOperator(square)(0.0, 1.0, x)
        assert failure.value.samples == (1, 3)
        assert re.search(r"failed for 2 of 5 samples \(1, 3\); sample 1 failed near time 0\.3333", str(failure.value))
        for chunk in (2, None):
            x.requires_grad_(False)
            X = SolutionOperator(square, on_failure="nan", chunk=chunk)
            value, work = X.solve(0.0, 1.0, x)
            assert work.failed.tolist() == [False, True, False, True, False]
            assert torch.equal(value.isnan(), work.failed)
            assert_near(value[[0, 2, 4]], (x / (1 - x))[[0, 2, 4]], 1e-9)
            x.requires_grad_()
            (gradient,) = torch.autograd.grad(X(0.0, 1.0, x)[[0, 2, 4]].sum(), x)
            assert_near(gradient, torch.where(work.failed, 0, (1 - x) ** -2), 1e-8)

    @pytest.mark.usefixtures("unchecked")
    def test_many_failures_are_not_all_named(self) -> None:
        square = VelocityField.from_function(lambda _, x: x**2)
        with pytest.raises(
            SolverError, match=r"failed for 30 of 30 samples \(0, 1, 2, 3, 4, 5, 6, 7, ...\);"
        ) as failure:
            SolutionOperator(square, chunk=7)(0.0, 1.0, torch.full((30,), 2.0).double())
        assert failure.value.samples == tuple(range(30))

    def test_a_stiff_equation_is_called_stiff_at_once(self) -> None:
        calls = 0

        def field(t: Tensor, x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return -1e6 * (x - torch.cos(t)[:, None])

        with pytest.raises(SolverError, match="the equation is stiff there: stability, not accuracy, holds the step"):
            SolutionOperator(VelocityField.from_function(field), rtol=1e-6, atol=1e-6)(0.0, 1.0, normal(2, 1))
        assert calls < 3000

    def test_a_stiff_equation_that_is_solved_is_told(self) -> None:
        b = VelocityField.from_function(lambda t, x, rate: -rate[:, None] * (x - torch.cos(t)[:, None]))
        rate = torch.tensor([1.0, 3000.0]).double()
        work = SolutionOperator(b.given(rate=rate), rtol=1e-6, atol=1e-6).solve(0.0, 1.0, normal(2, 1))[1]
        assert work.stiff.tolist() == [False, True]

    def test_a_reflected_solution_is_as_stiff(self) -> None:
        A = torch.tensor([[-1000.0, 0.3], [-0.5, -1.0]]).double()
        x = normal(4, 2)
        X = SolutionOperator(VelocityField.from_function(lambda _, x: x @ A.T), method="dopri5", rtol=1e-6, atol=1e-6)
        assert X.solve(0.0, 1.0, torch.cat([x, -x]))[1].stiff.all()

    def test_a_jump_that_holds_the_state_is_no_endless_solve(self) -> None:
        sliding = VelocityField.from_function(lambda _, x: 0.3 - torch.sign(x))
        with pytest.raises(SolverError, match="max_steps|the step fell to rounding|stiff"):
            SolutionOperator(sliding, max_steps=1000)(0.0, 1.0, torch.tensor([[0.2]]).double())

    @pytest.mark.parametrize(
        "call",
        [
            lambda X, x: X.jvp(0.0, 1.0, x, x),
            lambda X, x: X.vjp(0.0, 1.0, x, x),
            lambda X, x: X.ds(0.0, 1.0, x),
            lambda X, x: X.jacobian(0.0, 1.0, x),
            lambda X, x: X.average_velocity(0.0, 1.0, x),
            lambda X, x: X.b.log_prob(x),
        ],
        ids=["jvp", "vjp", "ds", "jacobian", "average_velocity", "log_prob"],
    )
    def test_every_solve_fails_in_words(self, call: Callable[..., Any]) -> None:
        nowhere = VelocityField.from_function(
            lambda t, x: x + torch.where((t > 0.4) & (t < 0.6), torch.nan, 0.0)[:, None]
        )
        with pytest.raises(SolverError, match="the field is not finite there"):
            call(SolutionOperator(nowhere), normal(2, 3))

    def test_the_adjoint_solve_fails_in_words(self) -> None:
        nowhere = VelocityField.from_function(lambda _, x: x + torch.nan)
        with pytest.raises(SolverError, match="the field is not finite there"):
            SolutionOperator(nowhere, adjoint=True)(0.0, 1.0, normal(2, 3).requires_grad_())

    def test_a_failure_in_one_chunk_names_its_own_sample(self) -> None:
        b = Labelled().given(label=torch.tensor([1.0, 1.0, torch.nan, 1.0]).double())
        with pytest.raises(SolverError, match="the field is not finite there"):
            SolutionOperator(b, chunk=2)(0.0, 1.0, normal(4, 3))

"""Stiff equations by an implicit method: closed forms, scipy's Radau as ground truth, and how few steps they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor
from torch.autograd import gradgradcheck
from torch.func import jvp, vjp, vmap
from torch.testing import assert_close

from experiments.benchmarks.stiff import PROBLEMS, Oscillators
from flowops import FlowMap, SolutionOperator, VelocityField
from flowops.maps import SolverError
from tests.examples import Coupled, Cubic, CubicFlow, assert_near, mild, normal, uniform
from tests.samples import check_forward, check_reverse


def stiff(b: VelocityField, tolerance: float, **options: object) -> SolutionOperator:
    return SolutionOperator(b, method="rodas5p", rtol=tolerance, atol=tolerance, **options)


class Relaxing(VelocityField):
    """To the cosine of the time, at each sample's own rate: x' = -rate (x - cos t)."""

    def forward(self, t: Tensor, x: Tensor, *, rate: Tensor) -> Tensor:
        return -rate[:, None] * (x - torch.cos(t)[:, None])


def relaxed(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    """From time 0."""
    t, rate = t[:, None], rate[:, None]

    def slow(t: Tensor) -> Tensor:
        return rate * (rate * t.cos() + t.sin()) / (rate**2 + 1)

    return slow(t) + torch.exp(-rate * t) * (x - slow(0 * t))


STEPS = {"van der pol 50": 370, "van der pol 1000": 510, "robertson": 100, "oregonator": 770, "hires": 190}
LONG = ("van der pol 50", "van der pol 1000", "oregonator")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in PROBLEMS]


@pytest.mark.parametrize("name", NAMES)
def test_the_problems_of_the_book_take_few_steps(name: str) -> None:
    problem = PROBLEMS[name]
    x = torch.tensor([problem.x], dtype=torch.float64)
    X = SolutionOperator(problem.field, method="rodas5p", rtol=1e-5, atol=1e-9)
    value, work = X.solve(0.0, problem.end, x)
    truth = torch.from_numpy(problem.by_scipy("Radau", 1e-11, 1e-14)[0])
    assert_close(value[0], truth, rtol=1e-5, atol=1e-9)
    assert int(work.steps + work.rejected) <= STEPS[name]
    assert not work.stiff.any()


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_what_decays_at_once_takes_few_steps(tolerance: float) -> None:
    decay = VelocityField.from_function(lambda _, x: -1e5 * x)
    value, work = stiff(decay, tolerance).solve(0.0, 1.0, normal(3, 2))
    assert value.abs().max() < tolerance
    assert (work.steps + work.rejected <= {1e-3: 16, 1e-6: 32, 1e-9: 95}[tolerance]).all()


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_easy_samples_do_not_pay_for_stiff_ones(tolerance: float) -> None:
    rate = torch.tensor([0.1, 1.0, 30.0, 1e3, 1e5, 1e7]).double()
    t, x = torch.linspace(0.5, 3.0, 6).double(), normal(6, 2)
    value, work = stiff(Relaxing(), tolerance).given(rate=rate).solve(0.0, t, x)
    assert_near(value, relaxed(t, x, rate), 5 * tolerance)
    for i in range(6):
        row = slice(i, i + 1)
        own = stiff(Relaxing(), tolerance).given(rate=rate[row]).solve(0.0, t[row], x[row])[1]
        assert own.steps == work.steps[row]
    assert work.steps[0] < 40 * (1e-6 / tolerance) ** 0.2
    assert work.steps.max() < 180 * (1e-6 / tolerance) ** 0.2


def test_the_number_of_steps_follows_the_tolerance_at_the_order_of_the_method() -> None:
    x = torch.tensor([[2.0, 0.0]]).double()
    X = [stiff(Oscillators(), tolerance).given(mu=torch.tensor([5.0]).double()) for tolerance in (1e-7, 1e-7 / 32)]
    first, second = (int(Y.solve(0.0, 10.0, x)[1].steps) for Y in X)
    assert np.log(32) / np.log(second / first) == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_in_both_dtypes(dtype: torch.dtype) -> None:
    b = VelocityField.from_function(lambda t, x: -3e3 * torch.sin(3 * t)[:, None] * (x - x**3))
    x, s, t = uniform(4, 2, dtype=dtype), torch.zeros(4, dtype=dtype), torch.full((4,), 0.5, dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    there, back = stiff(b, tolerance)(s, t, x), stiff(b.reversed(), tolerance)(1 - s, 1 - t, x)
    assert there.dtype == dtype
    assert_near(there, back, 10 * tolerance)
    assert there.abs().max() < 1e-3


MATRIX = torch.tensor([[-5e4, 4.9e4, 0.0], [4.9e4, -5e4, 1.0], [0.5, 0.0, -2.0]]).double()


class Linear(VelocityField):
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return x @ MATRIX.T


@pytest.mark.slow
def test_derivatives_of_a_stiff_map_are_those_of_the_matrix_exponential() -> None:
    s, t, x, u = uniform(4), uniform(4, seed=1), normal(4, 3), normal(4, 3, seed=2)
    s, t = torch.minimum(s, t), torch.maximum(s, t)  # backward, the fast parts grow by exp(1e5)
    X = stiff(Linear(), 1e-8)
    exact = torch.stack(
        [torch.tensor(expm((b - a) * MATRIX.numpy())) for a, b in zip(s.tolist(), t.tolist(), strict=True)]
    )
    assert_near(X(s, t, x), torch.einsum("bij,bj->bi", exact, x), 1e-7)
    assert_near(X.jvp(s, t, x, u), torch.einsum("bij,bj->bi", exact, u), 1e-7)
    assert_near(X.vjp(s, t, x, u), torch.einsum("bij,bi->bj", exact, u), 1e-7)
    assert_near(X.jacobian(s, t, x), exact, 1e-7)
    assert_near(jvp(lambda y: X(s, t, y), (x,), (u,))[1], torch.einsum("bij,bj->bi", exact, u), 1e-7)
    assert_near(vjp(lambda y: X(s, t, y), x)[1](u)[0], torch.einsum("bij,bi->bj", exact, u), 1e-7)
    fading = (MATRIX @ exact @ x[:, :, None])[:, :, 0]
    assert_near(X.dt(s, t, x), fading, 1e-3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_go_through_the_jacobians_of_the_accepted_steps(adjoint: bool) -> None:
    X = stiff(Coupled((2,)).requires_grad_(False), 1e-6, adjoint=adjoint)
    points = tuple(z.requires_grad_() for z in (uniform(1), uniform(1, seed=1), mild(1, 2)))
    check_reverse(lambda *z: (X(*z),), points, atol=1e-4, rtol=1e-4)
    check_forward(lambda *z: (X(*z),), points, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_gradients_of_gradients() -> None:
    X = stiff(Coupled((2,)).requires_grad_(False), 1e-6)
    points = tuple(z.requires_grad_() for z in (uniform(2), uniform(2, seed=1), mild(2, 2)))
    assert gradgradcheck(X, points, atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_reach_the_parameters_of_a_stiff_field(adjoint: bool) -> None:
    rate, x = torch.tensor([2.0, 1e4]).double(), normal(2, 2)

    def end(rate: Tensor) -> Tensor:
        return stiff(Relaxing(), 1e-8, adjoint=adjoint).given(rate=rate)(0.0, 1.0, x)

    leaf = rate.clone().requires_grad_()
    (found,) = torch.autograd.grad(end(leaf).sum(), leaf)
    exact = jvp(lambda r: relaxed(torch.ones(2).double(), x, r), (rate,), (torch.ones(2).double(),))[1]
    assert_close(found, exact.sum(1), rtol=1e-5, atol=1e-8)
    assert_close(jvp(end, (rate,), (torch.ones(2).double(),))[1], exact, rtol=1e-5, atol=1e-8)


@pytest.mark.usefixtures("unchecked")
def test_transforms_nest_and_take_many_directions_at_once() -> None:
    s, t, x, u = uniform(3), uniform(3, seed=1), mild(3, 2), normal(3, 2, seed=2)

    def pushed(X: FlowMap) -> Tensor:
        return vmap(lambda w: jvp(lambda y: X(s, t, y), (x,), (w,))[1])(normal(4, 3, 2, seed=3))

    def curvature(X: FlowMap) -> Tensor:
        return jvp(lambda y: vjp(lambda z: X(s, t, z), y)[1](u)[0], (x,), (u,))[1]

    for of in (pushed, curvature):
        assert_near(of(stiff(Cubic(), 1e-8)), of(CubicFlow()), 1e-6)


def every_derivative(X: FlowMap, s: Tensor, t: Tensor, x: Tensor, u: Tensor) -> list[Tensor]:
    pushed = [X.jvp(s, t, x, u), X.vjp(s, t, x, u), X.material_derivative(s, t, x, u)]
    return [*pushed, X.ds(s, t, x), X.dt(s, t, x), X.jacobian(s, t, x), X.average_velocity(s, t, x)]


@pytest.mark.parametrize("event", [(2,), (2, 2, 1)])
@pytest.mark.parametrize("adjoint", [False, True])
def test_every_derivative_of_a_map(event: tuple[int, ...], adjoint: bool) -> None:
    s, t, x, u = uniform(3), uniform(3, seed=1), mild(3, *event), normal(3, *event, seed=2)
    t[1] = s[1]
    found = every_derivative(stiff(Cubic(), 1e-7, adjoint=adjoint), s, t, x, u)
    for value, exact in zip(found, every_derivative(CubicFlow(), s, t, x, u), strict=True):
        assert_near(value, exact, 1e-6)


def test_the_likelihood_of_a_stiff_flow() -> None:
    x = normal(1, 2)
    b = VelocityField.from_function(lambda t, x: 300 * (x - torch.cos(t)[:, None]) + torch.sin(x))
    value, expected = (b.log_prob(x, 0.1, method=m, rtol=1e-7, atol=1e-7) for m in ("rodas5p", "dopri8"))
    assert_near(value, expected, 1e-5)


def test_a_path_of_a_stiff_equation_comes_from_the_steps_of_one_solve() -> None:
    rate, x = torch.tensor([1.0, 1e5]).double(), normal(2, 1)
    times = torch.linspace(0, 2, 41).double()
    calls = 0

    class Counted(Relaxing):
        def forward(self, t: Tensor, x: Tensor, *, rate: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return super().forward(t, x, rate=rate)

    X = stiff(Counted(), 1e-7).given(rate=rate)
    X.solve(0.0, 2.0, x)
    once, calls = calls, 0
    found = X.path(0.0, times, x)
    assert calls < 2 * once
    for t, value in zip(times, found, strict=True):
        assert_near(value, relaxed(t.expand(2), x, rate), 1e-6)
    assert torch.equal(found[0], x)


def test_calls_are_those_of_the_field_and_a_jacobian_is_one() -> None:
    calls = 0

    def field(t: Tensor, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return Cubic().forward(t, x) + torch.sin(40 * t)[:, None]

    work = stiff(VelocityField.from_function(field), 1e-7).solve(0.0, 1.0, mild(1, 2))[1]
    assert int(work.rejected) > 0
    assert work.calls.tolist() == [calls]
    assert calls == 2 + 8 * int(work.steps + work.rejected) + int(work.steps)


class TestWhatItRefuses:
    def test_the_advice_for_a_stiff_equation_solves_it(self) -> None:
        rate = torch.tensor([1e6, 1.0]).double()
        with pytest.raises(SolverError, match="the equation is stiff there.*; use method='rodas5p', which is implicit"):
            SolutionOperator(Relaxing(), rtol=1e-6, atol=1e-6).given(rate=rate)(0.0, 1.0, normal(2, 1))
        stiff(Relaxing(), 1e-6).given(rate=rate)(0.0, 1.0, normal(2, 1))

    @pytest.mark.usefixtures("unchecked")
    def test_a_field_without_a_jacobian(self) -> None:
        class Mirror(torch.autograd.Function):
            @staticmethod
            def forward(_: object, x: Tensor) -> Tensor:
                return -x

        b = VelocityField.from_function(lambda _, x: Mirror.apply(x))
        sentence = "^The field must have a Jacobian by `torch.func` for method='rodas5p', got \".*\"; write it in"
        with pytest.raises(RuntimeError, match=sentence):
            stiff(b, 1e-6)(0.0, 1.0, normal(2, 2))

    def test_a_state_with_too_large_a_matrix(self) -> None:
        sentence = "^A state must have at most 1024 numbers for method='rodas5p', .*, got 1025 in all parts"
        for call in (lambda X, x: X(0.0, 1.0, x), lambda X, x: X.path(0.0, [0.5, 1.0], x)):
            with pytest.raises(ValueError, match=sentence):
                call(stiff(Cubic(), 1e-3), mild(1, 1025))
        with pytest.raises(ValueError, match="got 1200 in all parts"):
            stiff(Cubic(), 1e-3).jvp(0.0, 1.0, mild(1, 600), mild(1, 600))

    def test_a_singularity_is_found_and_the_others_arrive(self) -> None:
        x = torch.tensor([[0.5], [2.0], [0.1]]).double()
        square = VelocityField.from_function(lambda _, x: x**2)
        X = stiff(square, 1e-3, on_failure="nan")
        value, work = X.solve(0.0, 1.0, x)
        assert work.failed.tolist() == [False, True, False]
        assert value[1].isnan().all()
        assert_near(value[[0, 2]], (x / (1 - x))[[0, 2]], 3e-3)
        with pytest.raises(SolverError, match=r"The rodas5p solve failed near time 0.500.*.*\(sample 1 of 3\)"):
            stiff(square, 1e-3)(0.0, 1.0, x)

    def test_chunks_count_the_entries_of_matrices(self) -> None:
        sizes: list[int] = []

        def field(_: Tensor, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return -x

        stiff(VelocityField.from_function(field), 1e-2)(0.0, 1.0, mild(40, 256))
        assert max(sizes) == 2**20 // 256**2
        assert SolutionOperator(Cubic()).solver.rows(256) == 2**20 // 256
        solver = SolutionOperator(Cubic(), method="rodas5p").solver
        assert solver.rows(1024) == 1
        with pytest.raises(ValueError, match="at most 1024 numbers for method='rodas5p'.*got 1025"):
            solver.rows(1025)

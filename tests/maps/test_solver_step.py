"""One step of a one-step method: the fixed-step solve of one step, to its order, with gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops._solvers.fixed import TABLEAUS
from flowops.interpolants import Interpolant, cosine, edm, encoding_decoding, linear, trigonometric
from flowops.maps import DDIMStep, DPMSolver, SolverStep
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, mild, normal, uniform


@pytest.mark.parametrize("method", TABLEAUS)
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_it_is_the_solve_of_one_step(method: str, event: tuple[int, ...], batch: int) -> None:
    b, s, t, x = Coupled(event), uniform(batch), uniform(batch, seed=1), normal(batch, *event)
    assert_close(SolverStep(b, method)(s, t, x), SolutionOperator(b, method=method, steps=1)(s, t, x))


@pytest.mark.parametrize("method", TABLEAUS)
def test_several_steps_are_one_after_the_other(method: str) -> None:
    b, s, t, x = Coupled((3,)), uniform(4), uniform(4, seed=1), normal(4, 3)
    grid = [torch.lerp(s, t, i / 3) for i in range(4)]
    assert_close(SolverStep(b, method, 3)(s, t, x), SolverStep(b, method).compose(grid, x))


def test_one_euler_step_is_a_straight_line() -> None:
    b, s, t, x = Coupled((3,)), uniform(4), uniform(4, seed=1), normal(4, 3)
    assert_close(SolverStep(b, "euler")(s, t, x), x + (t - s)[:, None] * b(s, x))


@pytest.mark.parametrize("method", TABLEAUS)
def test_its_error_falls_with_its_order(method: str) -> None:
    x, lengths = mild(4, 2), torch.tensor([0.1, 0.05]).tolist()
    errors = [
        (SolverStep(Cubic(), method)(0.3, 0.3 + h, x) - CubicFlow()(0.3, 0.3 + h, x)).abs().max() for h in lengths
    ]
    assert torch.log2(errors[0] / errors[1]).item() == pytest.approx(TABLEAUS[method].order + 1, abs=0.35)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_gradients_are_those_of_the_solve(method: str) -> None:
    b = Coupled((3,))
    leaves = [z.requires_grad_() for z in (uniform(4), uniform(4, seed=1), normal(4, 3))]
    own, solved = SolverStep(b, method), SolutionOperator(b, method=method, steps=1)
    found = torch.autograd.grad(own(*leaves).square().sum(), [*leaves, b.weight])
    for gradient, expected in zip(
        found, torch.autograd.grad(solved(*leaves).square().sum(), [*leaves, b.weight]), strict=True
    ):
        assert_close(gradient, expected)


def test_a_step_of_no_length_returns_the_state_even_where_the_field_is_not_finite() -> None:
    def singular(t: Tensor, x: Tensor) -> Tensor:
        return x / (t - 0.5)[:, None]

    x = normal(3, 2)
    assert torch.equal(SolverStep(VelocityField.from_function(singular), "heun")(0.5, 0.5, x), x)


def test_an_adaptive_method_has_no_single_step() -> None:
    sentence = '`method` must be one of euler, midpoint, heun, heun3, rk4, got "dopri5"'
    with pytest.raises(ValueError, match=sentence):
        SolverStep(Cubic(), "dopri5")


class OnePoint(VelocityField):
    """The field of data that is one point, of an interpolant."""

    def __init__(self, interpolant: Interpolant, point: Tensor) -> None:
        super().__init__()
        self.interpolant, self.point = interpolant, point

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.interpolant.convert(t, x, self.point.expand_as(x), "denoiser", "velocity")


@pytest.mark.parametrize("I", [linear(), trigonometric(), cosine(), edm()], ids=lambda I: I.name)
def test_a_step_of_ddim_is_exact_for_one_point(I: Interpolant) -> None:
    s, t = torch.tensor([0.1, 0.8, 0.3]).double(), torch.tensor([0.9, 0.2, 1.0]).double()
    x, point = normal(3, 2, seed=1), normal(2, seed=2)
    step = DDIMStep(OnePoint(I, point), I)
    ratio = (I.alpha(t) / I.alpha(s))[:, None]
    exact = ratio * x + (I.beta(t)[:, None] - ratio * I.beta(s)[:, None]) * point
    assert_close(step(s, t, x), exact)
    assert_close(step.compose([s, torch.lerp(s, t, 0.5), t], x), exact)


def test_on_the_linear_schedule_a_step_of_ddim_is_one_of_euler_and_on_no_other() -> None:
    s, t, x = torch.tensor([0.1, 0.8]).double(), torch.tensor([0.9, 0.2]).double(), normal(2, 2, seed=1)
    b = Cubic()
    assert_close(DDIMStep(b, linear())(s, t, x), SolverStep(b, "euler")(s, t, x))
    assert not torch.allclose(DDIMStep(b, trigonometric())(s, t, x), SolverStep(b, "euler")(s, t, x), rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_of_ddim_keeps_dtype_and_shape_and_stays_where_it_has_no_length(dtype: torch.dtype) -> None:
    x = normal(3, 2, 2, 2, seed=1, dtype=dtype)
    s = torch.tensor([0.0, 0.5, 0.999], dtype=dtype)
    step = DDIMStep(OnePoint(linear(), torch.zeros(2, 2, 2, dtype=dtype)), linear())
    assert step(0.2, 0.7, x).dtype == dtype
    assert_close(step(s, s, x), x)
    assert_close(step.dt(s, s, x), step.b(s, x))  # the tangent condition
    step = DDIMStep(Cubic(), linear())
    assert_close(step(1.0, 1.0, x), x)
    assert step(1.0, 0.5, x).isnan().all()


def test_several_steps_are_as_many_single_ones_from_and_to_times_of_each_sample() -> None:
    s, t, x = torch.tensor([0.1, 0.8]).double(), torch.tensor([0.9, 0.2]).double(), normal(2, 2, seed=1)
    grid = [torch.lerp(s, t, i / 3) for i in range(4)]
    for one, three in (
        (DDIMStep(Cubic(), trigonometric()), DDIMStep(Cubic(), trigonometric(), 3)),
        (SolverStep(Cubic(), "heun"), SolverStep(Cubic(), "heun", 3)),
    ):
        assert_close(three(s, t, x), one.compose(grid, x))
        assert not torch.allclose(three(s, t, x), one(s, t, x), rtol=1e-3)


def test_a_single_step_of_dpm_solver_is_one_of_ddim_and_the_next_remembers_it() -> None:
    s, t, x = torch.tensor([0.1, 0.8]).double(), torch.tensor([0.9, 0.3]).double(), normal(2, 2, seed=1)
    b, I = Cubic(), trigonometric()
    assert_close(DPMSolver(b, I)(s, t, x), DDIMStep(b, I)(s, t, x))
    m = torch.lerp(s, t, 0.5)
    first = DDIMStep(b, I)(s, m, x)
    old, new = (I.convert(tau, y, b(tau, y), "velocity", "denoiser") for tau, y in ((s, x), (m, first)))
    level = [(I.beta(tau) / I.alpha(tau)).log() for tau in (s, m, t)]
    ahead = new + ((level[2] - level[1]) / (2 * (level[1] - level[0])))[:, None] * (new - old)
    ratio = (I.alpha(t) / I.alpha(m))[:, None]
    wanted = ratio * first + (I.beta(t)[:, None] - ratio * I.beta(m)[:, None]) * ahead
    assert_close(DPMSolver(b, I, 2)(s, t, x), wanted)
    states = DPMSolver(b, I).trajectory([s, m, t], x)
    assert len(states) == 3
    assert_close(states[1], first)
    assert_close(states[2], wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_of_dpm_solver_stay_where_they_have_no_length_and_are_finite_from_noise_to_data(
    dtype: torch.dtype,
) -> None:
    x = normal(3, 2, 2, seed=1, dtype=dtype)
    step = DPMSolver(OnePoint(linear(), torch.zeros(2, 2, dtype=dtype)), linear(), 3)
    s = torch.tensor([0.0, 0.5, 0.999], dtype=dtype)
    assert_close(step(s, s, x), x)
    assert step(0.0, 1.0, x).dtype == dtype
    assert_close(step(0.0, 1.0, x), torch.zeros_like(x))
    half = torch.full_like(s, 0.5)  # a step of no length between two others is forgotten
    paused = step.trajectory([s * 0, half, half, half + 0.25], x)
    assert all(state.isfinite().all() for state in paused)


def test_a_step_of_ddim_wants_two_terms() -> None:
    with pytest.raises(ValueError, match="two terms|two-term|gamma"):
        DDIMStep(Cubic(), encoding_decoding())(0.1, 0.2, normal(2, 2))

"""The solution operator against closed forms, scipy, central differences and forward mode through fixed steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator, VelocityField
from tests.examples import (
    EVENT_IDS,
    EVENTS,
    Coupled,
    Cubic,
    CubicFlow,
    Linear,
    assert_near,
    central_difference,
    mild,
    normal,
    uniform,
)

# The shape checks take three times as long as these solves; the solves of the other files run under them.
pytestmark = pytest.mark.usefixtures("unchecked")

MATRIX = torch.tensor([[0.3, -2.0, 0.5], [1.0, 0.4, -1.0], [0.2, 1.0, -0.1]], dtype=torch.float64)
SHIFT = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)
TIMES: dict[str, tuple[Any, Any]] = {
    "forward": (0.1, 0.9),
    "backward": (1, 0),
    "0-d": (torch.tensor(0.2).double(), torch.tensor(0.7).double()),
    "per sample": (uniform(4), uniform(4, seed=1)),
    "one for all and one each": (0.5, uniform(4, seed=1)),
    "equal": (0.6, 0.6),
}


@pytest.mark.parametrize("solver", [{}, {"method": "rk4", "steps": 60}], ids=["adaptive", "rk4"])
@pytest.mark.parametrize("times", TIMES.values(), ids=list(TIMES))
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_a_nonlinear_flow_in_closed_form(
    event: tuple[int, ...], times: tuple[Any, Any], solver: dict[str, Any]
) -> None:
    x = mild(4, *event)
    value = SolutionOperator(Cubic(), **solver)(*times, x)
    assert value.shape == x.shape
    tolerance = 1e-6 if "steps" in solver else 1e-8
    assert_close(value, CubicFlow()(*times, x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("times", TIMES.values(), ids=list(TIMES))
def test_a_linear_flow_is_a_matrix_exponential(times: tuple[Any, Any]) -> None:
    b, x, u = Linear(MATRIX, SHIFT).requires_grad_(False), normal(4, 3), normal(4, 3, seed=1)
    X = SolutionOperator(b)
    pushed = b.flow(*times, u) - b.flow(*times, torch.zeros_like(u))
    propagator = torch.stack(
        [b.flow(*times, e.expand(4, 3)) - b.flow(*times, 0 * u) for e in torch.eye(3).double()], -1
    )
    h = torch.as_tensor(times[1]).double() - torch.as_tensor(times[0]).double()
    assert_near(X(*times, x), b.flow(*times, x), 1e-8)
    assert_near(X.jvp(*times, x, u), pushed, 1e-8)
    assert_near(X.jacobian(*times, x), propagator, 1e-8)
    assert_near(X.vjp(*times, x, u), torch.einsum("bij,bi->bj", propagator, u), 1e-8)
    assert_near(X.log_abs_det(*times, x), (h * MATRIX.trace()).expand(4), 1e-7)
    assert_near(X.dt(*times, x), b.flow(*times, x) @ MATRIX.T + SHIFT, 1e-8)
    assert_near(X.ds(*times, x), -torch.einsum("bij,bj->bi", propagator, x @ MATRIX.T + SHIFT), 1e-8)


@pytest.mark.parametrize(("s", "t"), [(0.0, 1.0), (0.9, 0.2)])
def test_scipy_agrees(s: float, t: float) -> None:
    b, x = Coupled((3,)).requires_grad_(False), normal(2, 3)
    value = SolutionOperator(b)(s, t, x)
    for i in range(2):

        def rhs(tau: float, y: np.ndarray) -> np.ndarray:
            return b(tau, torch.from_numpy(y)[None])[0].numpy()

        reference = solve_ivp(rhs, (s, t), x[i].numpy(), method="DOP853", rtol=1e-11, atol=1e-11)
        assert_near(value[i], torch.from_numpy(reference.y[:, -1]), 1e-8)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
class TestDerivatives:
    """Of the adaptive solve, against the closed form and against torch.func through fixed steps."""

    @staticmethod
    def operands(batch: int, event: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return uniform(batch), uniform(batch, seed=1), mild(batch, *event), normal(batch, *event, seed=2)

    def check(self, X: FlowMap, other: FlowMap, batch: int, event: tuple[int, ...], tolerance: float) -> None:
        s, t, x, u = self.operands(batch, event)
        for value, expected in zip(X.value_and_dt(s, t, x), other.value_and_dt(s, t, x), strict=True):
            assert_near(value, expected, tolerance)
        assert_near(X.dt(s, t, x), other.dt(s, t, x), tolerance)
        assert_near(X.ds(s, t, x), other.ds(s, t, x), tolerance)
        assert_near(X.jvp(s, t, x, u), other.jvp(s, t, x, u), tolerance)
        assert_near(X.material_derivative(s, t, x, u), other.material_derivative(s, t, x, u), tolerance)
        assert_near(X.vjp(s, t, x, u), other.vjp(s, t, x, u), tolerance)
        assert_near(X.average_velocity(s, t, x), other.average_velocity(s, t, x), tolerance)
        if len(event) < 3:
            assert_near(X.jacobian(s, t, x), other.jacobian(s, t, x), tolerance)
            assert_near(X.log_abs_det(s, t, x), other.log_abs_det(s, t, x), tolerance)

    @pytest.mark.parametrize("batch", [0, 1, 3])
    def test_the_closed_form_agrees(self, batch: int, event: tuple[int, ...]) -> None:
        self.check(SolutionOperator(Cubic()), CubicFlow(), batch, event, 1e-8)

    @pytest.mark.parametrize(
        "solver", [{"rtol": 1e-8, "atol": 1e-8}, {"method": "rk4", "steps": 12}], ids=["adaptive", "rk4"]
    )
    def test_forward_mode_through_fixed_steps_agrees(self, event: tuple[int, ...], solver: dict[str, Any]) -> None:
        b = Coupled(event).requires_grad_(False)
        steps = SolutionOperator(b, method="rk4", steps=12)
        generic = FlowMap.from_function(steps.forward)  # derivatives by torch.func, none overridden
        self.check(SolutionOperator(b, **solver), generic, 3, event, 2e-5)

    def test_differences_agree(self, event: tuple[int, ...]) -> None:
        s, t, x, u = self.operands(3, event)
        X = SolutionOperator(Coupled(event).requires_grad_(False))
        tight = SolutionOperator(X.b, rtol=1e-12, atol=1e-12)
        one, h = torch.ones_like(s), 1e-3
        tolerance = 1e-7
        assert_near(X.dt(s, t, x), central_difference(lambda q: tight(s, q, x), t, one, h), tolerance)
        assert_near(X.ds(s, t, x), central_difference(lambda q: tight(q, t, x), s, one, h), tolerance)
        assert_near(X.jvp(s, t, x, u), central_difference(lambda y: tight(s, t, y), x, u, h), tolerance)


def test_fixed_steps_pull_back_by_the_adjoint_equation() -> None:
    r"""Two steps of Euler for $t\,x$: $(1+0)(1+\tfrac14)$ forward, $(1+\tfrac12)(1+\tfrac14)$ for the adjoint."""
    X = SolutionOperator(VelocityField.from_function(lambda t, x: t[:, None] * x), method="euler", steps=2)
    x, w = normal(3, 2), normal(3, 2, seed=1)
    assert_close(X(0.0, 1.0, x), 1.25 * x)
    assert_close(X.vjp(0.0, 1.0, x, w), 1.875 * w)
    leaf = x.clone().requires_grad_()
    assert_close(torch.autograd.grad((w * X(0.0, 1.0, leaf)).sum(), leaf)[0], 1.25 * w)


def test_jacobian_of_an_image() -> None:
    x = mild(2, 3, 4, 4)
    J = SolutionOperator(Cubic()).jacobian(0.0, 1.0, x)
    assert J.shape == (2, 3, 4, 4, 3, 4, 4)
    closed = CubicFlow()
    assert_near(J.reshape(2, 48, 48), torch.diag_embed((closed(0.0, 1.0, x) / x).pow(3).reshape(2, 48)), 1e-8)
    assert_near(SolutionOperator(Cubic()).log_abs_det(0.0, 1.0, x), closed.log_abs_det(0.0, 1.0, x), 1e-8)


@pytest.mark.parametrize(
    "solver", [{}, {"chunk": 2}, {"method": "rk4", "steps": 20}], ids=["adaptive", "chunks", "rk4"]
)
def test_a_batch_of_times_equals_one_solve_each(solver: dict[str, Any]) -> None:
    b, s, t, x, u = (
        Coupled((3,)).requires_grad_(False),
        uniform(5),
        uniform(5, seed=1),
        normal(5, 3),
        normal(5, 3, seed=2),
    )
    X = SolutionOperator(b, **solver)
    together = [X(s, t, x), X.jvp(s, t, x, u), X.ds(s, t, x), X.vjp(s, t, x, u), X.average_velocity(s, t, x)]
    for i in range(5):
        row = slice(i, i + 1)
        point = (s[i].item(), t[i].item(), x[row])
        alone = [X(*point), X.jvp(*point, u[row]), X.ds(*point), X.vjp(*point, u[row]), X.average_velocity(*point)]
        for value, expected in zip(together, alone, strict=True):
            assert_near(value[row], expected, 1e-8)


def test_the_average_velocity_has_no_quotient() -> None:
    h = torch.logspace(-15, 0, 16).double()
    x = mild(1, 2).expand(16, 2)
    value = SolutionOperator(Cubic()).average_velocity(0.0, h, x)
    rate = (1 + h / 2)[:, None]
    root = torch.sqrt(1 + rate * h[:, None] * x**2)
    assert_near(value, -rate * x**3 / (root * (1 + root)), 1e-8)
    assert_close(SolutionOperator(Cubic()).average_velocity(0.4, 0.4, x), Cubic()(0.4, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "solver", [{"rtol": 1e-5, "atol": 1e-5}, {"method": "rk4", "steps": 5}], ids=["adaptive", "rk4"]
)
def test_every_quantity_keeps_the_dtype_of_the_state(dtype: torch.dtype, solver: dict[str, Any]) -> None:
    X, x, wide = SolutionOperator(Cubic(), **solver), mild(3, 2, dtype=dtype), uniform(3)
    pairs: list[tuple[Any, Any]] = [(wide, wide.flip(0)), (0.1, wide), (wide, 0.9), (0, 1)]
    for s, t in [*pairs, (torch.tensor(0.1, dtype=dtype), wide)]:
        values = [
            X(s, t, x),
            X.dt(s, t, x),
            X.ds(s, t, x),
            X.jvp(s, t, x, x),
            X.vjp(s, t, x, x),
            X.average_velocity(s, t, x),
        ]
        values += [X.jacobian(s, t, x), X.log_abs_det(s, t, x), X.compose([s, t], x), X.material_derivative(s, t, x, x)]
        assert {value.dtype for value in values} == {dtype}
        start, end = (torch.as_tensor(q).double() for q in (s, t))
        assert_near(values[0].double(), CubicFlow()(start, end, x.double()), 1e-4)


def test_the_default_methods_reach_their_tolerances() -> None:
    s, t = uniform(200), uniform(200, seed=1)
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 5e-6)):
        x = mild(200, 2, dtype=dtype)
        value = SolutionOperator(Cubic())(s, t, x)
        assert (value.double() - CubicFlow()(s, t, x.double())).abs().max() < tolerance


def test_only_fields_are_solved() -> None:
    for other in (lambda _, x: x, None, CubicFlow()):
        sentence = f"`b` must be a VelocityField, got {type(other).__name__}; wrap it with VelocityField.from_function."
        with pytest.raises(TypeError, match=sentence):
            SolutionOperator(other)  # type: ignore[arg-type]


def test_the_solution_operator_holds_the_parameters_of_its_field() -> None:
    b = Coupled((3,))
    assert list(SolutionOperator(b).state_dict()) == ["b.weight", "b.drift"]

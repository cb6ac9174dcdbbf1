"""The base class of flow maps: shapes, generic derivatives, composition, functions as maps."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator
from flowops.interpolants import linear
from tests.examples import (
    EVENT_IDS,
    EVENTS,
    Cubic,
    CubicFlow,
    GaussianFlow,
    TwoTimeNetwork,
    assert_near,
    central_difference,
    clock,
    mild,
    normal,
    over,
    uniform,
)


def shear(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """A smooth two-time map, the flow of nothing, whose components interact."""
    mean = x.reshape(len(x), x.shape[1:].numel()).mean(1)
    return x * over(torch.exp(s * t), x) + over(torch.sin(mean + 2 * s - t), x)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
class TestEveryEventShape:
    def test_one_time_for_all_or_one_each(self, batch: int, event: tuple[int, ...]) -> None:
        X, x, s, t = FlowMap.from_function(shear), normal(batch, *event), uniform(batch), uniform(batch, seed=1)
        together = X(s, t, x)
        assert together.shape == x.shape
        for i in range(batch):
            row = slice(i, i + 1)
            assert_close(together[row], X(s[i].item(), t[i], x[row]))
            assert_close(together[row], X(s[i], t[row], x[row]))

    def test_generic_derivatives_agree_with_differences(self, batch: int, event: tuple[int, ...]) -> None:
        X, x, u = FlowMap.from_function(shear), normal(batch, *event), normal(batch, *event, seed=1)
        s, t, w = uniform(batch, seed=2), uniform(batch, seed=3), normal(batch, *event, seed=4)
        one = torch.ones_like(t)
        by_t = central_difference(lambda q: shear(s, q, x), t, one, 1e-4)
        by_s = central_difference(lambda q: shear(q, t, x), s, one, 1e-4)
        by_x = central_difference(lambda y: shear(s, t, y), x, u, 1e-4)
        value, dt = X.value_and_dt(s, t, x)
        assert_close(value, shear(s, t, x))
        assert_near(dt, by_t, 1e-8)
        assert_near(X.dt(s, t, x), by_t, 1e-8)
        assert_near(X.ds(s, t, x), by_s, 1e-8)
        assert_near(X.jvp(s, t, x, u), by_x, 1e-8)
        assert_near(X.material_derivative(s, t, x, u), by_s + by_x, 1e-8)
        assert_near((X.vjp(s, t, x, w) * u).sum(), (w * by_x).sum(), 1e-8)

    def test_jacobian_and_determinant_agree_with_autograd(self, batch: int, event: tuple[int, ...]) -> None:
        X, x, s, t = FlowMap.from_function(shear), normal(batch, *event), uniform(batch), uniform(batch, seed=1)
        J, log_abs_det = X.jacobian(s, t, x), X.log_abs_det(s, t, x)
        assert J.shape == (batch, *event, *event)
        assert log_abs_det.shape == (batch,)
        size = torch.Size(event).numel()
        for i in range(batch):
            row = slice(i, i + 1)
            expected = torch.autograd.functional.jacobian(lambda y, row=row: shear(s[row], t[row], y[None])[0], x[i])
            assert_close(J[i], expected)
            assert_close(log_abs_det[i], expected.reshape(size, size).det().abs().log())

    def test_a_map_returns_a_state(self, batch: int, event: tuple[int, ...]) -> None:
        x, X = mild(batch, *event), CubicFlow()
        for value in (X(0, 1, x), X.dt(0, 1, x), X.ds(1, 0, x), X.average_velocity(0.5, 0.5, x), X.compose([0, 1], x)):
            assert value.shape == x.shape


def test_closed_form_derivatives() -> None:
    s, t, x, u = uniform(5), uniform(5, seed=1), mild(5, 3), normal(5, 3, seed=2)
    X, factor = CubicFlow(), 1 + over(clock(t) - clock(s), x) * x**2
    assert_close(X.dt(s, t, x), -0.5 * over(1 + t, x) * x**3 * factor**-1.5)
    assert_close(X.ds(s, t, x), 0.5 * over(1 + s, x) * x**3 * factor**-1.5)
    assert_close(X.jvp(s, t, x, u), factor**-1.5 * u)
    assert_close(X.material_derivative(s, t, x, -0.5 * over(1 + s, x) * x**3), torch.zeros_like(x))
    assert_close(X.log_abs_det(s, t, x), -1.5 * factor.log().sum(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_every_derivative_keeps_the_dtype_of_the_state(dtype: torch.dtype) -> None:
    X, x, s, t = CubicFlow(), mild(3, 2).to(dtype), uniform(3), uniform(3, seed=1)
    pairs: list[tuple[Any, Any]] = [(s, t), (0.2, 0.9), (s, 0.9), (0.2, t), (t, t)]
    for times in pairs:
        values = [X(*times, x), X.dt(*times, x), X.ds(*times, x), X.jvp(*times, x, x), X.vjp(*times, x, x)]
        values += [X.material_derivative(*times, x, x), X.average_velocity(*times, x), X.jacobian(*times, x)]
        values += [X.velocity()(times[1], x), X.compose(times, x), *X.path(0.5, times, x)]
        assert {value.dtype for value in values} == {dtype}
        assert all(value.isfinite().all() for value in values)


def test_gradients_reach_parameters_times_and_states() -> None:
    network = TwoTimeNetwork((3,))
    X, w = FlowMap.from_function(network), normal(4, 3, seed=9)
    s, t, x = (z.requires_grad_() for z in (uniform(4), uniform(4, seed=1), normal(4, 3)))
    gradients = torch.autograd.grad((w * X(s, t, x)).sum(), [s, t, x, network.outward])
    assert_close(gradients[0], (w * X.ds(s, t, x)).sum(1))
    assert_close(gradients[1], (w * X.dt(s, t, x)).sum(1))
    assert_close(gradients[2], X.vjp(s, t, x, w))
    direction = normal(8, 3, seed=5)

    def loss(outward: Tensor) -> Tensor:
        return (w * torch.func.functional_call(X, {"function.outward": outward}, (s, t, x))).sum()

    difference = central_difference(loss, network.outward.detach(), direction)
    assert_close((gradients[3] * direction).sum(), difference, rtol=1e-8, atol=1e-8)


def test_a_derivative_can_be_trained() -> None:
    network = TwoTimeNetwork((3,))
    X, s, t, x = FlowMap.from_function(network), uniform(4), uniform(4, seed=1), normal(4, 3)
    (gradient,) = torch.autograd.grad(X.dt(s, t, x).square().sum(), network.outward)
    direction = normal(8, 3, seed=5)

    def loss(outward: Tensor) -> Tensor:
        f = lambda q: torch.func.functional_call(network, {"outward": outward}, (s, q, x))  # noqa: E731
        return central_difference(f, t, torch.ones_like(t), 1e-3).square().sum()

    difference = central_difference(loss, network.outward.detach(), direction, 1e-4)
    assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-6)


class TestCompose:
    GRID = (0.1, 0.4, 0.35, 0.9)

    @staticmethod
    def by_hand(grid: list[Any], x: Tensor) -> list[Tensor]:
        states = [x]
        for k in range(len(grid) - 1):
            states.append(shear(grid[k], grid[k + 1], states[-1]))
        return states

    @pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
    def test_numbers_and_tensors(self, event: tuple[int, ...]) -> None:
        X, x = FlowMap.from_function(shear), normal(4, *event)
        full = [torch.full((4,), time, dtype=torch.float64) for time in self.GRID]
        expected = torch.stack(self.by_hand(full, x))
        grids: list[Any] = [
            self.GRID,
            list(self.GRID),
            torch.tensor(self.GRID, dtype=torch.float64),
            [torch.tensor(q, dtype=torch.float64) for q in self.GRID],
        ]
        for grid in [*grids, full, torch.stack(full)]:
            assert_near(X.compose(grid, x), expected[-1], 1e-12)
            trajectory = X.compose(grid, x, trajectory=True)
            assert trajectory.shape == (4, 4, *event)
            assert_near(trajectory, expected, 1e-12)
            assert torch.equal(trajectory[0], x)

    def test_times_of_every_sample(self) -> None:
        X, x, times = FlowMap.from_function(shear), normal(4, 3), uniform(5, 4)
        together = X.compose(times, x, trajectory=True)
        for i in range(4):
            row = slice(i, i + 1)
            assert_close(together[:, row], X.compose(times[:, i].tolist(), x[row], trajectory=True))
        mixed = X.compose([0.3, times[1], torch.tensor(0.9).double()], x)
        assert_close(
            mixed, shear(times[1], torch.full((4,), 0.9).double(), shear(torch.full((4,), 0.3).double(), times[1], x))
        )

    def test_a_flow_does_not_see_the_grid(self) -> None:
        x = mild(4, 3)
        assert_close(CubicFlow().compose([0.0, 0.7, 0.2, 1.0], x), CubicFlow()(0.0, 1.0, x))

    def test_one_time_is_no_step(self) -> None:
        x = normal(4, 3)
        assert torch.equal(CubicFlow().compose([0.5], x), x)
        assert torch.equal(CubicFlow().compose([0.5], x, trajectory=True), x[None])

    @pytest.mark.parametrize("grid", [[], (), torch.zeros(0)])
    def test_a_grid_without_a_time_is_refused(self, grid: Any) -> None:
        sentence = "`times` must hold at least one time, got none; pass [t_0, ..., t_k]."
        with pytest.raises(ValueError, match=re.escape(sentence)):
            CubicFlow().compose(grid, normal(2, 3))

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("grid", [0.5, 1, torch.tensor(0.5)])
    def test_a_single_time_is_no_grid(self, grid: Any) -> None:
        with pytest.raises(ValueError, match=re.escape("`times` must be a grid of times, got the single time")):
            CubicFlow().compose(grid, normal(2, 3))

    def test_a_grid_of_another_batch_is_refused(self) -> None:
        with pytest.raises(ValueError, match=re.escape("`s` must be a scalar or have shape [batch] = [2], got [3]")):
            CubicFlow().compose(torch.zeros(4, 3).double(), normal(2, 3))


class TestSwappedTimes:
    """The inverse of a flow is the map with its times swapped, which is the flow of no field."""

    @pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
    @pytest.mark.parametrize("batch", [0, 1, 4])
    def test_they_undo_a_flow(self, event: tuple[int, ...], batch: int) -> None:
        X, s, t, x = CubicFlow(), uniform(batch), uniform(batch, seed=1), mild(batch, *event)
        assert_close(X(t, s, X(s, t, x)), x)
        assert_close(X(s, t, X(t, s, x)), x)

    def test_they_do_not_undo_what_is_no_flow(self) -> None:
        X, s, t, x = FlowMap.from_function(shear), uniform(4), uniform(4, seed=1), normal(4, 3)
        assert (X(t, s, X(s, t, x)) - x).abs().max() > 0.1

    def test_they_do_not_compose(self) -> None:
        X, x = GaussianFlow(linear(), m=1.0), normal(4, 3)
        swapped = FlowMap.from_function(lambda s, t, x: X(t, s, x))
        assert_close(X(0.3, 0.8, X(0.1, 0.3, x)), X(0.1, 0.8, x))
        assert (swapped(0.3, 0.8, swapped(0.1, 0.3, x)) - swapped(0.1, 0.8, x)).abs().min() > 0.01

    def test_their_slope_on_the_diagonal_is_the_field_run_backward(self) -> None:
        t, x = uniform(4), mild(4, 3)
        swapped = FlowMap.from_function(lambda s, t, x: CubicFlow()(t, s, x))
        assert_close(swapped.velocity()(t, x), -Cubic()(t, x))


class TestVelocity:
    def test_the_implied_field_of_a_flow_is_its_field(self) -> None:
        t, x = uniform(4), mild(4, 3)
        b = CubicFlow().velocity()
        assert_close(b(t, x), Cubic()(t, x))
        assert_close(b.jvp(t, x, x), Cubic().jvp(t, x, x))
        assert_close(b.dt(t, x), Cubic().dt(t, x))
        assert_close(b.divergence(t, x), Cubic().divergence(t, x))

    def test_the_field_of_a_solution_operator_is_the_one_it_solves(self) -> None:
        b = Cubic()
        assert SolutionOperator(b).velocity() is b

    def test_parameters_are_shared_with_the_map(self) -> None:
        X = FlowMap.from_function(nn.Bilinear(3, 3, 3).double())
        assert [id(p) for p in X.velocity().parameters()] == [id(p) for p in X.parameters()] != []


class TestFromFunction:
    def test_a_module_is_registered(self) -> None:
        network = TwoTimeNetwork((3,))
        X = FlowMap.from_function(network)
        assert list(X.state_dict()) == ["function.inward", "function.outward"]
        assert next(X.parameters()) is network.inward
        X.float()
        assert network.inward.dtype == torch.float32
        assert X(0, 1, normal(4, 3, dtype=torch.float32)).dtype == torch.float32

    def test_a_function_sees_times_of_the_batch(self) -> None:
        def function(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            assert s.shape == t.shape == x.shape[:1]
            return x

        FlowMap.from_function(function)(0, torch.tensor(1.0), torch.ones(4, 3, 2))

    @pytest.mark.usefixtures("unchecked")
    def test_it_must_be_callable(self) -> None:
        sentence = "`function` must be a callable of (s, t, x), got Tensor; pass a function."
        with pytest.raises(TypeError, match=re.escape(sentence)):
            FlowMap.from_function(torch.ones(2))  # type: ignore[arg-type]


def test_a_map_needs_a_forward() -> None:
    class Empty(FlowMap):
        pass

    with pytest.raises((TypeError, NotImplementedError)):
        Empty()(0.0, 1.0, normal(2, 3))  # type: ignore[abstract]


def test_hooks_run() -> None:
    seen: list[torch.Size] = []
    X: nn.Module = CubicFlow()
    X.register_forward_hook(lambda _module, _arguments, value: seen.append(value.shape))
    X(0.0, 1.0, mild(2, 3))
    assert seen == [torch.Size([2, 3])]

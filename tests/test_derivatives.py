"""The few functions through which every derivative of the library is taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops._derivatives import (
    numbers_of_partials,
    partials,
    push_basis,
    push_columns,
    value_and_jvp,
    value_and_slope,
    value_and_vjp,
)
from tests.examples import EVENT_IDS, EVENTS, central_difference, normal, over, uniform


def directional(x: Tensor) -> Callable[[Tensor], Tensor]:
    """The directional derivative of `coupled` at `x`."""
    return lambda u: value_and_jvp(coupled, (x,), (u,))[1]


def coupled(x: Tensor) -> Tensor:
    """Mixes the components of each sample, and no samples."""
    flat = x.reshape(x.shape[0], x.shape[1:].numel())
    return (torch.sin(flat) + flat.square().cumsum(1) / flat.shape[1]).reshape(x.shape)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
class TestEveryEventShape:
    def test_forward_mode_agrees_with_differences(self, batch: int, event: tuple[int, ...]) -> None:
        x, u = normal(batch, *event), normal(batch, *event, seed=1)
        value, derivative = value_and_jvp(coupled, (x,), (u,))
        assert_close(value, coupled(x))
        assert_close(derivative, central_difference(coupled, x, u, 1e-4), rtol=1e-9, atol=1e-9)

    def test_reverse_mode_is_the_transpose_of_forward_mode(self, batch: int, event: tuple[int, ...]) -> None:
        x, u, w = normal(batch, *event), normal(batch, *event, seed=1), normal(batch, *event, seed=2)
        value, pulled = value_and_vjp(coupled, x, w)
        assert_close(value, coupled(x))
        assert_close((pulled * u).sum(), (w * value_and_jvp(coupled, (x,), (u,))[1]).sum())

    @pytest.mark.parametrize("together", [64, 1, 5])
    def test_jacobian_agrees_with_reverse_mode_row_by_row(
        self, batch: int, event: tuple[int, ...], together: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flowops._derivatives.DIRECTIONS", together)
        x = normal(batch, *event)
        J = push_basis(directional(x), x)
        assert J.shape == (batch, *event, *event)
        for i in range(batch):
            reverse = torch.autograd.functional.jacobian(lambda y: coupled(y[None])[0], x[i])
            assert_close(J[i], reverse)

    def test_pushed_columns_are_a_matrix_product(self, batch: int, event: tuple[int, ...]) -> None:
        x, columns = normal(batch, *event), normal(batch, *event, *event, seed=1)
        size = torch.Size(event).numel()
        J = push_basis(directional(x), x).reshape(batch, size, size)
        expected = (J @ columns.reshape(batch, size, size)).reshape(columns.shape)
        assert_close(push_columns(directional(x), x, columns), expected)

    def test_the_pushed_basis_of_the_identity_is_the_identity(self, batch: int, event: tuple[int, ...]) -> None:
        x = normal(batch, *event)
        size = torch.Size(event).numel()
        identity = push_basis(lambda e: e, x)
        assert identity.shape == (batch, *event, *event)
        assert_close(identity.reshape(batch, size, size), torch.eye(size).double().expand(batch, size, size))


def test_several_primals_move_together() -> None:
    t, x = normal(4, seed=1), normal(4, seed=2)
    dt, dx = normal(4, seed=3), normal(4, seed=4)
    _, derivative = value_and_jvp(lambda a, y: a**2 * y**3, (t, x), (dt, dx))
    assert_close(derivative, 2 * t * x**3 * dt + 3 * t**2 * x**2 * dx)


def test_tangents_take_the_dtype_of_their_primal() -> None:
    t, x = normal(4), normal(4, dtype=torch.float32)
    value, derivative = value_and_jvp(lambda a, y: a * y, (t, x), (torch.ones(4), torch.ones(4).double()))
    assert value.dtype == derivative.dtype == torch.float64
    _, pulled = value_and_vjp(lambda y: t * y, x, torch.ones(4))
    assert_close(pulled, t.float())


def test_an_expanded_primal_is_no_obstacle() -> None:
    t = torch.tensor(0.3).double().expand(4)
    assert_close(value_and_jvp(torch.sin, (t,), (torch.ones(4),))[1], torch.cos(t))


def test_derivatives_of_derivatives() -> None:
    x, u = normal(5), torch.ones(5).double()
    once = lambda y: value_and_jvp(torch.sin, (y,), (u,))[1]  # noqa: E731
    assert_close(value_and_jvp(once, (x,), (u,))[1], -torch.sin(x))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(once(leaf).sum(), leaf)
    assert_close(gradient, -torch.sin(x))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "f",
    [
        lambda t, x: torch.stack([x[:, 1] * t, 3 * (1 - x[:, 0] ** 2) * x[:, 1] - t], 1),
        lambda _, x: x**3,
        lambda t, x: t[:, None].expand_as(x),
        lambda _, x: torch.ones_like(x),
    ],
    ids=["both", "states", "times", "constant"],
)
def test_partial_derivatives_are_those_of_directions(f: Callable[[Tensor, Tensor], Tensor], batch: int) -> None:
    t, x = uniform(batch), normal(batch, 2)
    drift, J = partials(f, t, x)
    one, none = torch.ones_like(t), torch.zeros_like(x)
    assert_close(drift, value_and_jvp(f, (t, x), (one, none))[1])
    columns = [value_and_jvp(f, (t, x), (0 * one, none + e))[1] for e in torch.eye(2).double()]
    assert_close(J, torch.stack(columns, 2))
    for found, expected in zip(numbers_of_partials(f, t, x), (drift, J), strict=True):
        assert not found.requires_grad
        assert_close(found, expected)
    with torch.inference_mode():
        assert_close(numbers_of_partials(f, t, x)[1], J)


def test_slopes_by_three_values_stay_in_the_interval() -> None:
    r"""Exact for a square; for a cube wrong by $h^2$ between two values and by $-2h^2$ beside them."""
    h, t = torch.full((5,), 0.125).double(), torch.tensor([0.0, 0.125, 0.5, 0.875, 1.0]).double()
    asked: list[Tensor] = []

    def path(power: int) -> Callable[[Tensor], Tensor]:
        def value(offset: Tensor) -> Tensor:
            asked.append(t + offset)
            return ((t + offset) ** power)[:, None]

        return value

    value, slope = value_and_slope(path(2), h, t)
    assert_close(value, (t**2)[:, None])
    assert_close(slope, (2 * t)[:, None])
    missed = value_and_slope(path(3), h, t)[1][:, 0] - 3 * t**2
    assert_close(missed, torch.tensor([-2.0, 1, 1, 1, -2]).double() * 0.125**2)
    assert all(((times >= 0) & (times <= 1)).all() for times in asked)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_slopes_by_three_values_are_those_of_every_event(event: tuple[int, ...]) -> None:
    t, x = torch.tensor([0.0, 0.3, 1.0]).double(), normal(3, *event)
    value, slope = value_and_slope(lambda a: over((t + a) ** 2, x) * x, torch.full((3,), 0.125).double(), t)
    assert_close(value, over(t**2, x) * x)
    assert_close(slope, over(2 * t, x) * x)

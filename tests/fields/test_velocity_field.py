"""The base class of velocity fields: shapes, dtypes, derivatives, functions as fields."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops.fields import FrozenField
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, central_difference, normal, over, uniform


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
class TestEveryEventShape:
    def test_one_time_for_all_or_one_each(self, batch: int, event: tuple[int, ...]) -> None:
        b, x, t = Coupled(event), normal(batch, *event), uniform(batch, seed=1)
        together = b(t, x)
        assert together.shape == x.shape
        for i in range(batch):
            assert_close(together[i : i + 1], b(t[i].item(), x[i : i + 1]))
            assert_close(together[i : i + 1], b(t[i], x[i : i + 1]))

    def test_derivatives_agree_with_differences(self, batch: int, event: tuple[int, ...]) -> None:
        b, x, t = Coupled(event).requires_grad_(False), normal(batch, *event), uniform(batch, seed=1)
        u, w = normal(batch, *event, seed=2), normal(batch, *event, seed=3)
        along_x = central_difference(lambda y: b(t, y), x, u, 1e-4)
        along_t = central_difference(lambda q: b(q, x), t, torch.ones_like(t), 1e-4)
        assert_close(b.jvp(t, x, u), along_x, rtol=1e-9, atol=1e-9)
        assert_close(b.dt(t, x), along_t, rtol=1e-9, atol=1e-9)
        assert_close((b.vjp(t, x, w) * u).sum(), (w * along_x).sum(), rtol=1e-8, atol=1e-8)
        for value, derivative in (b.value_and_jvp(t, x, u), b.value_and_vjp(t, x, w)):
            assert_close(value, b(t, x))
            assert derivative.shape == x.shape

    def test_the_jacobian_agrees_with_autograd(self, batch: int, event: tuple[int, ...]) -> None:
        b, x, t = Coupled(event), normal(batch, *event), uniform(batch, seed=1)
        J = b.jacobian(t, x)
        assert J.shape == (batch, *event, *event)
        for i in range(batch):
            expected = torch.autograd.functional.jacobian(lambda y, i=i: b(t[i], y[None])[0], x[i])
            assert_close(J[i], expected)


def test_closed_form_derivatives() -> None:
    b, t, x, u = Cubic(), uniform(5), normal(5, 3, seed=1), normal(5, 3, seed=2)
    assert_close(b.jvp(t, x, u), -1.5 * over(1 + t, x) * x**2 * u)
    assert_close(b.dt(t, x), -0.5 * x**3)


def test_derivatives_at_one_time_for_all() -> None:
    b, x, u = Cubic(), normal(4, 3), normal(4, 3, seed=1)
    assert_close(b.jvp(1, x, u), -3 * x**2 * u)
    assert_close(b.dt(torch.tensor(1.0).double(), x), -0.5 * x**3)
    assert_close(b.jacobian(1.0, x), torch.diag_embed(-3 * x**2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_every_derivative_keeps_the_dtype_of_the_state(dtype: torch.dtype) -> None:
    b, x, t = Cubic(), normal(3, 2, dtype=torch.float32).to(dtype), uniform(3)
    values = [b(t, x), b.jvp(t, x, x), b.vjp(t, x, x), b.dt(t, x), b.jacobian(t, x), b.divergence(t, x)]
    values += [*b.value_and_jvp(0.5, x, x), *b.value_and_vjp(0.5, x, x), b.dt(0.5, x), b.divergence(0.5, x)]
    assert {value.dtype for value in values} == {dtype}
    exact = Cubic().jvp(t, x.double(), x.double())
    assert_close(b.jvp(t, x, x).double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


def test_a_function_is_a_field_and_its_module_is_registered() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            assert t.shape == x.shape[:1]
            return self.layer(x) * over(t, x)

    network = Network()
    b = VelocityField.from_function(network)
    assert list(b.state_dict()) == ["function.layer.weight", "function.layer.bias"]
    assert next(b.parameters()) is network.layer.weight
    b.double()
    x = normal(4, 3)
    assert_close(b(0.5, x), network.layer(x) / 2)
    assert not list(VelocityField.from_function(lambda _, x: x).parameters())


@pytest.mark.usefixtures("unchecked")
def test_a_function_must_be_callable() -> None:
    with pytest.raises(
        TypeError, match=re.escape("`function` must be a callable of (t, x), got float; pass a function.")
    ):
        VelocityField.from_function(1.0)  # type: ignore[arg-type]


def test_a_field_needs_a_forward() -> None:
    class Empty(VelocityField):
        pass

    with pytest.raises((TypeError, NotImplementedError)):
        Empty()(0.5, normal(2, 3))  # type: ignore[abstract]


def test_gradients_reach_parameters_times_and_states() -> None:
    b, t, x = Coupled((3,)), uniform(4).requires_grad_(), normal(4, 3).requires_grad_()
    gradients = torch.autograd.grad(b(t, x).sum(), [t, x, *b.parameters()])
    assert_close(gradients[0], b.dt(t, x).sum(1))
    assert_close(gradients[1], b.vjp(t, x, torch.ones(4, 3).double()))
    weight = b.weight.detach()

    def loss(w: Tensor) -> Tensor:
        return torch.func.functional_call(b, {"weight": w}, (t, x)).sum()

    direction = normal(3, 3, seed=5)
    assert_close((gradients[2] * direction).sum(), central_difference(loss, weight, direction, 1e-4))


def test_the_flow_map_of_a_field_solves_it() -> None:
    b = Cubic()
    X = b.flow_map(method="rk4", steps=3)
    assert isinstance(X, SolutionOperator)
    assert X.b is b
    assert (X.solver.method, X.solver.steps) == ("rk4", 3)


class Affine(nn.Module):
    """A network of a time and a point."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.inner(torch.cat([t[:, None], x], 1))

    def scaled(self, scale: float, t: Tensor, x: Tensor) -> Tensor:
        return scale * self(t, x)


class TestParametersOfFunctions:
    @pytest.mark.parametrize("kind", ["module", "method", "partial", "partial of a module"])
    def test_they_are_moved_and_constant_for_a_learner(self, kind: str) -> None:
        network = Affine()
        made: dict[str, Callable[..., Tensor]] = {
            "module": network,
            "method": network.forward,
            "partial": partial(network.scaled, 2.0),
            "partial of a module": partial(network),
        }
        b = VelocityField.from_function(made[kind])
        assert {id(p) for p in b.parameters()} == {id(p) for p in network.parameters()}
        b.to(torch.float64)
        assert network.inner.weight.dtype == torch.float64
        x = normal(4, 2).requires_grad_()
        FrozenField(b)(0.5, x).sum().backward()
        assert x.grad is not None
        assert all(p.grad is None for p in network.parameters())
        other = copy.deepcopy(b)
        with torch.no_grad():
            network.inner.weight.zero_()
        assert not torch.equal(other(0.5, x), b(0.5, x))  # it has parameters of its own, and calls with them

    def test_behind_a_lambda_they_are_hidden(self) -> None:
        network = Affine().double()
        b = VelocityField.from_function(lambda t, x: network(t, x))
        assert not list(b.parameters())
        FrozenField(b)(0.5, normal(4, 2)).sum().backward()
        assert network.inner.weight.grad is not None

    def test_a_method_of_an_operator_is_a_function(self) -> None:
        inner = Coupled((2,))
        b = VelocityField.from_function(inner.forward)
        assert not list(b.children())
        assert not b.takes("label")

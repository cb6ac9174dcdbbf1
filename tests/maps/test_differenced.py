"""Derivatives by central differences: how many calls they take, what they need of a network, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, interpolants
from flowops.maps import DifferencedMap, FrozenMap
from flowops.methods import get_method
from tests.examples import normal, uniform
from tests.methods.rows import batch, gradient, learned


class Opaque(torch.autograd.Function):
    """A hyperbolic tangent that forward mode refuses, as a fused kernel does."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, w):
        (y,) = ctx.saved_tensors
        return w * (1 - y * y)


class Fused(nn.Module):
    """A small network around a function, which counts its calls."""

    def __init__(self, activation: Callable[[Tensor], Tensor], dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(normal(4, 8, seed=1)), nn.Parameter(normal(8, 2, seed=2))
        self.activation, self.dropout, self.calls = activation, nn.Dropout(dropout), 0

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        features = torch.cat([x, s[:, None].to(x), t[:, None].to(x)], 1)
        return self.dropout(self.activation(features @ self.first)) @ self.last


@pytest.mark.parametrize("name", ["lsd", "esd", "meanflow", "imf", "trapezoid", "fmm"])
def test_a_network_that_forward_mode_refuses_is_trained(name: str) -> None:
    x, I = batch(6), interpolants.linear()
    fused, plain = LearnedMap(Fused(Opaque.apply)), LearnedMap(Fused(torch.tanh))
    with pytest.raises(RuntimeError, match=r"jvp|forward|setup_context"):
        get_method(name)(fused, I, *x, seed=3)
    found = get_method(name, derivatives="central")(fused, I, *x, seed=3).loss
    wanted = get_method(name)(plain, I, *x, seed=3).loss
    assert_close(found, wanted, rtol=1e-7, atol=1e-9)
    assert_close(gradient(found, fused), gradient(wanted, plain), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("member", "calls"),
    [
        (lambda X, s, t, x: X.dt(s, t, x), 3),
        (lambda X, s, t, x: X.value_and_dt(s, t, x), 3),
        (lambda X, s, t, x: X.ds(s, t, x), 3),
        (lambda X, s, t, x: X.jvp(s, t, x, x), 2),
        (lambda X, s, t, x: X.material_derivative(s, t, x, x), 3),
        (lambda X, s, t, x: X.average_velocity_and_material_derivative(s, t, x, x), 3),
        (lambda X, s, t, x: X.average_velocity(s, t, x), 1),
        (lambda X, s, _t, x: X.velocity()(s, x), 1),
    ],
)
def test_a_derivative_takes_this_many_calls(member: Callable[..., object], calls: int) -> None:
    network = Fused(torch.tanh)
    member(DifferencedMap(LearnedMap(network)), uniform(3), uniform(3, seed=1), normal(3, 2))
    assert network.calls == calls


@pytest.mark.parametrize(("name", "forward", "central"), [("lsd", 3, 5), ("meanflow", 3, 5), ("imf", 4, 6)])
def test_a_loss_takes_two_calls_more(name: str, forward: int, central: int) -> None:
    for backend, calls in (("forward", forward), ("central", central)):
        network = Fused(torch.tanh)
        get_method(name, eta=0.5, derivatives=backend)(LearnedMap(network), interpolants.linear(), *batch(4), seed=1)
        assert network.calls == calls


def test_values_and_what_the_map_has_rules_for_are_its_own() -> None:
    X, s, t, x = learned(), uniform(3), uniform(3, seed=1), normal(3, 2)
    Y = DifferencedMap(X)
    for one, other in (
        (X(s, t, x), Y(s, t, x)),
        (X.average_velocity(s, t, x), Y.average_velocity(s, t, x)),
        (X.velocity()(t, x), Y.velocity()(t, x)),
    ):
        assert torch.equal(one, other)


def test_a_map_of_values_alone_has_its_average_velocity_and_field_by_differences() -> None:
    network = Fused(Opaque.apply)
    X = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * network(s, t, x))
    s, x = uniform(3), normal(3, 2)
    for t in (uniform(3, seed=1), s):
        assert_close(DifferencedMap(X).average_velocity(s, t, x), network(s, t, x), rtol=1e-7, atol=1e-8)
    assert_close(DifferencedMap(X).velocity()(s, x), network(s, s, x), rtol=1e-7, atol=1e-8)


def test_times_stay_inside_the_interval() -> None:
    seen: list[Tensor] = []

    def value(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        seen.extend((s, t))
        return x * (t - s)[:, None]

    X, x = DifferencedMap(FlowMap.from_function(value)), normal(4, 1)
    s, t = (torch.tensor(times, dtype=torch.float64) for times in ((0.0, 1.0, 0.5, 1e-9), (1.0, 0.0, 1.0, 1 - 1e-9)))
    X.dt(s, t, x)
    X.material_derivative(s, t, x, x)
    assert min(times.min() for times in seen) >= 0
    assert max(times.max() for times in seen) <= 1


def test_conditions_and_subsets_reach_the_map() -> None:
    X, labels = learned(), torch.tensor([0, 1, 2])
    s, t, x = uniform(3), uniform(3, seed=1), normal(3, 2)
    assert torch.equal(DifferencedMap(X).given(label=labels)(s, t, x), X.given(label=labels)(s, t, x))
    rows = torch.tensor([2, 0])
    held = DifferencedMap(X).given(label=labels).subset(rows)
    assert torch.equal(held(s[rows], t[rows], x[rows]), X.given(label=labels)(s, t, x)[rows])
    slope = held.dt(s[rows], t[rows], x[rows])
    assert_close(slope, X.given(label=labels).dt(s, t, x)[rows], rtol=1e-7, atol=1e-8)


def test_the_step_is_that_of_an_autocast() -> None:
    X, x = DifferencedMap(LearnedMap(Fused(torch.tanh).float())), normal(3, 2).float()
    exact = X.X.dt(0.3, 0.7, x)
    with torch.autocast("cpu", torch.bfloat16):
        off = (X.dt(0.3, 0.7, x) - exact).norm() / exact.norm()
        rounded = (DifferencedMap(X.X, 1e-3).dt(0.3, 0.7, x) - exact).norm() / exact.norm()
    assert off < 0.1 < rounded


def test_the_parameters_of_a_frozen_map_stay_constant_and_the_average_is_differenced_too() -> None:
    X = learned()
    slope = DifferencedMap(FrozenMap(X)).dt(0.2, 0.7, normal(3, 2))
    assert not slope.requires_grad
    average, samples = learned(seed=9), batch(6)
    losses = [
        get_method("esd", ema_teacher=True, derivatives=backend)(
            X, interpolants.linear(), *samples, average=average, seed=3
        ).loss
        for backend in ("forward", "central")
    ]
    assert_close(*losses, rtol=1e-7, atol=1e-9)
    assert_close(*(gradient(loss, X) for loss in losses), rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="`X` must be a FlowMap, got Linear"):
        DifferencedMap(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`step` must be positive, got 0\.0"):
        DifferencedMap(learned(), 0.0)
    masked = DifferencedMap(LearnedMap(Fused(torch.tanh, dropout=0.5)))
    with pytest.raises(ValueError, match="`X` must not draw masks of dropout for differences of its values"):
        masked.dt(0.2, 0.7, normal(3, 2))
    masked.eval()
    assert masked.dt(0.2, 0.7, normal(3, 2)).isfinite().all()

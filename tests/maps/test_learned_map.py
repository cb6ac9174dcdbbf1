"""The learned map: exact on the diagonal for every parameterization, conditions, autocast, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.interpolants import trigonometric
from flowops.maps import AverageVelocity, CosineSine, EDMPreconditioning, Endpoint, Parameterization, SecondOrder
from tests.examples import (
    EVENT_IDS,
    EVENTS,
    Coupled,
    TwoTimeNetwork,
    assert_near,
    central_difference,
    normal,
    uniform,
)

PARAMETERIZATIONS = ["average velocity", "second order", "EDM", "cosine sine", "endpoint"]


def learned(name: str, event: tuple[int, ...], dtype: torch.dtype = torch.float64) -> LearnedMap:
    choices: dict[str, Parameterization] = {
        "average velocity": AverageVelocity(),
        "second order": SecondOrder(Coupled(event, seed=3)),
        "EDM": EDMPreconditioning(trigonometric(), 0.7),
        "cosine sine": CosineSine(),
        "endpoint": Endpoint(),
    }
    return LearnedMap(TwoTimeNetwork(event), choices[name]).to(dtype)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 4])
class TestEveryParameterization:
    def test_it_is_the_identity_at_equal_times(self, name: str, event: tuple[int, ...], batch: int) -> None:
        X, x, t = learned(name, event), normal(batch, *event), uniform(batch)
        for time in (t, 0.3, 0, 1.0):
            assert torch.equal(X(time, time, x), x)

    def test_the_average_velocity_is_exact(self, name: str, event: tuple[int, ...], batch: int) -> None:
        X, x, s, t = learned(name, event), normal(batch, *event), uniform(batch), uniform(batch, seed=1)
        v = X.average_velocity(s, t, x)
        assert v.shape == x.shape
        for i in range(batch):
            assert_close((t[i] - s[i]) * v[i], X(s[i], t[i], x[i : i + 1])[0] - x[i])

    def test_the_field_is_the_slope_on_the_diagonal(self, name: str, event: tuple[int, ...], batch: int) -> None:
        X, x, t = learned(name, event), normal(batch, *event), uniform(batch)
        b = X.velocity()
        assert torch.equal(b(t, x), X.average_velocity(t, t, x))
        assert_close(b(t, x), X.dt(t, t, x))
        assert_close(b(t, x), -X.ds(t, t, x))

    def test_derivatives_agree_with_differences(self, name: str, event: tuple[int, ...], batch: int) -> None:
        X = learned(name, event).requires_grad_(False)
        x, u, s, t = normal(batch, *event), normal(batch, *event, seed=1), uniform(batch), uniform(batch, seed=1)
        one = torch.ones_like(t)
        by_s = central_difference(lambda q: X(q, t, x), s, one, 1e-4)
        by_x = central_difference(lambda y: X(s, t, y), x, u, 1e-4)
        assert_near(X.dt(s, t, x), central_difference(lambda q: X(s, q, x), t, one, 1e-4), 1e-8)
        assert_near(X.ds(s, t, x), by_s, 1e-8)
        assert_near(X.jvp(s, t, x, u), by_x, 1e-8)
        assert_near(X.material_derivative(s, t, x, u), by_s + by_x, 1e-8)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_every_value_keeps_the_dtype_of_the_state(name: str, dtype: torch.dtype) -> None:
    X, x, wide = learned(name, (3,), dtype), normal(4, 3, dtype=torch.float32).to(dtype), uniform(4)
    for s, t in ((wide, wide.flip(0)), (0.2, wide), (wide, 0.7), (0, 1)):
        values = [X(s, t, x), X.average_velocity(s, t, x), X.velocity()(t, x), X.dt(s, t, x), X.jvp(s, t, x, x)]
        assert {value.dtype for value in values} == {dtype}
    assert torch.equal(X(wide, wide, x), x)


def test_the_average_velocity_is_the_default_and_is_the_network() -> None:
    network, x, s, t = TwoTimeNetwork((3,)), normal(4, 3), uniform(4), uniform(4, seed=1)
    X = LearnedMap(network)
    assert torch.equal(X.average_velocity(s, t, x), network(s, t, x))
    assert torch.equal(X.velocity()(t, x), network(t, t, x))


class Returning(nn.Module):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Any:
        return self.result


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("result", "error", "sentence"),
    [
        (
            torch.zeros(4),
            ValueError,
            "The network must return the shape of the state, [4, 3], got [4]; check the reshapes",
        ),
        (torch.zeros(1, 3), ValueError, "The network must return the shape of the state, [4, 3], got [1, 3]; check"),
        (torch.zeros(4, 1), ValueError, "The network must return the shape of the state, [4, 3], got [4, 1]; check"),
        (torch.zeros(4, 3).double(), TypeError, "The network must return the dtype of the state, torch.float32, got"),
        (None, TypeError, "The network must return a tensor of the shape of the state, [4, 3], got NoneType; return"),
        ((1, 2), TypeError, "The network must return a tensor of the shape of the state, [4, 3], got tuple; return"),
    ],
)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_a_network_that_returns_no_state_is_refused(
    name: str, result: Any, error: type[Exception], sentence: str
) -> None:
    X = LearnedMap(Returning(result), learned(name, (3,), torch.float32).parameterization)
    x = torch.ones(4, 3)
    for call in (lambda: X(0.0, 1.0, x), lambda: X.average_velocity(0.0, 1.0, x), lambda: X.velocity()(0.5, x)):
        with pytest.raises(error, match=re.escape(sentence)):
            call()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [nn.DataParallel, nn.parallel.DistributedDataParallel])
def test_a_network_that_is_wrapped_for_several_processes_is_refused(kind: type[nn.Module]) -> None:
    wrapped = kind.__new__(kind)  # without the processes that it would want
    nn.Module.__init__(wrapped)
    with pytest.raises(
        TypeError, match=f"the network itself, got {kind.__name__}, .* pass network.module, and wrap the"
    ):
        LearnedMap(wrapped)


def test_a_network_must_be_a_module() -> None:
    sentence = "`network` must be an nn.Module of (s, t, x), got function; wrap it."
    with pytest.raises(TypeError, match=re.escape(sentence)):
        LearnedMap(lambda _s, _t, x: x)  # type: ignore[arg-type]
    sentence = (
        "`parameterization` must be a Parameterization, got str; pass AverageVelocity(), SecondOrder(b) or EDMPrec"
    )
    with pytest.raises(TypeError, match=re.escape(sentence)):
        LearnedMap(TwoTimeNetwork((3,)), "average_velocity")  # type: ignore[arg-type]
    with pytest.raises(
        TypeError,
        match=re.escape("`b` must be a VelocityField, got function; wrap it with VelocityField.from_function."),
    ):
        SecondOrder(lambda _, x: x)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_conditions_reach_the_network(name: str) -> None:
    X, x, labels = learned(name, (3,)), normal(4, 3), normal(4, seed=5)
    conditioned = X.given(label=labels)
    assert torch.equal(conditioned(0.3, 0.3, x), x)
    for value, alone in (
        (conditioned(0.2, 0.8, x), lambda i: X.given(label=labels[i].item())(0.2, 0.8, x[i : i + 1])),
        (
            conditioned.average_velocity(0.2, 0.8, x),
            lambda i: X.given(label=labels[i].item()).average_velocity(0.2, 0.8, x[i : i + 1]),
        ),
        (conditioned.velocity()(0.5, x), lambda i: X.given(label=labels[i].item()).velocity()(0.5, x[i : i + 1])),
        (conditioned.dt(0.2, 0.8, x), lambda i: X.given(label=labels[i].item()).dt(0.2, 0.8, x[i : i + 1])),
    ):
        for i in range(4):
            assert_close(value[i : i + 1], alone(i))
    if name != "second order":
        assert_close(X.velocity().given(label=labels)(0.5, x), conditioned.velocity()(0.5, x))
        assert not torch.allclose(conditioned.velocity()(0.5, x), X.velocity()(0.5, x))
    with pytest.raises(TypeError, match="`class_label` must be a condition that the forward of LearnedMap takes"):
        X.given(class_label=labels)


class Dense(nn.Module):
    """A network whose layers autocast runs in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.SiLU(), nn.Linear(16, 3))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.layers(torch.cat([x, s[:, None], t[:, None]], 1))


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_under_autocast_only_the_network_is_less_precise(name: str) -> None:
    torch.manual_seed(0)
    X = LearnedMap(Dense(), learned(name, (3,), torch.float32).parameterization)
    s, t, x = (
        uniform(4, dtype=torch.float32),
        uniform(4, seed=1, dtype=torch.float32),
        normal(4, 3, dtype=torch.float32),
    )
    exact = X(s, t, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert X.network(s, t, x).dtype == torch.bfloat16
        value, derivative = X.value_and_dt(s, t, x)
        assert torch.equal(X(t, t, x), x)
        v = X.average_velocity(s, t, x)
    assert value.dtype == derivative.dtype == v.dtype == torch.float32
    assert_close(value, exact, rtol=0.03, atol=0.03)
    value.sum().backward()
    assert all(p.grad is not None for p in X.network.parameters())


def test_the_state_dict_holds_network_and_field() -> None:
    X = learned("second order", (3,))
    keys = ["network.inward", "network.outward", "parameterization.b.weight", "parameterization.b.drift"]
    assert list(X.state_dict()) == keys

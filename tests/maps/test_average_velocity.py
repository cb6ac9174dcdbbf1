"""The average velocity of a map that knows only its values: no 0/0 in value or gradient, one formula into the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap
from flowops.problems import rotation
from tests.examples import EVENT_IDS, EVENTS, Cubic, CubicFlow, Labelled, TwoTimeNetwork, mild, normal, over, uniform


def exact(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """$(X_{s,t}(x)-x)/(t-s)$ for `CubicFlow`, with the difference of roots rationalized: no cancellation."""
    rate = 1 + (s + t) / 2  # (g_t - g_s) / (t - s)
    root = torch.sqrt(1 + over(rate * (t - s), x) * x**2)
    return -over(rate, x) * x**3 / (root * (1 + root))


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_it_is_the_difference_quotient(event: tuple[int, ...], batch: int) -> None:
    s, t, x = uniform(batch), uniform(batch, seed=1), mild(batch, *event)
    assert_close(CubicFlow().average_velocity(s, t, x), exact(s, t, x))


@pytest.mark.parametrize("time", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_equal_times_it_is_the_field(time: float, dtype: torch.dtype) -> None:
    x = mild(4, 3, dtype=dtype)
    assert_close(CubicFlow().average_velocity(time, time, x), Cubic()(time, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_interval_however_short_keeps_its_digits(dtype: torch.dtype, sign: int) -> None:
    """Both formulas agree with the rationalized one, across the switch and everywhere else."""
    h = sign * torch.logspace(-12, -0.4, 300, dtype=torch.float64).to(dtype)
    s = torch.full_like(h, 0.5)
    t = s + h
    x = mild(300, 2, dtype=dtype)
    tolerance = 20 * torch.finfo(dtype).eps ** 0.8
    value = CubicFlow().average_velocity(s, t, x)
    assert_close(value.double(), exact(s.double(), t.double(), x.double()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_does_not_jump_at_the_switch(dtype: torch.dtype) -> None:
    switch, eps = torch.finfo(dtype).eps ** 0.25, torch.finfo(dtype).eps
    t = switch * torch.tensor([1 - 4 * eps, 1 + 4 * eps], dtype=dtype)
    x = mild(1, 50, dtype=dtype).expand(2, 50)
    value = CubicFlow().average_velocity(0.0, t, x)
    assert not torch.equal(value[0], value[1])  # the two formulas
    assert_close(value[0], value[1], rtol=0, atol=20 * eps**0.8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turns", [20.0, 60.0])
def test_fast_maps_keep_their_digits(dtype: torch.dtype, turns: float) -> None:
    """A rotation, of which (X(x) - x) / h has the size 2 sin(turns h / 2) / h for |x| = 1."""
    X = rotation(turns).X
    assert X is not None
    h = torch.logspace(-5, -1, 100, dtype=torch.float64).to(dtype)
    x = torch.tensor([1.0, 0.0], dtype=dtype).expand(100, 2)
    generic = FlowMap.from_function(X)
    size = generic.average_velocity(0.0, h, x).norm(dim=1).double()
    exact = (2 * (turns * h.double() / 2).sin() / h.double()).abs()
    assert ((size - exact).abs() / turns).max() < torch.finfo(dtype).eps ** 0.75


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("h", [0.0, 1e-9, 1e-5, -1e-4, 1e-2, 0.3])
def test_gradients_are_finite_and_right(dtype: torch.dtype, h: float) -> None:
    s = torch.tensor([0.0, 0.4, 0.6], dtype=dtype).requires_grad_()
    t = (s.detach() + h).requires_grad_()
    x = mild(3, 2, dtype=dtype).requires_grad_()
    gradients = torch.autograd.grad(CubicFlow().average_velocity(s, t, x).sum(), [s, t, x])
    expected = torch.autograd.grad(
        exact(*(operands := [z.detach().double().requires_grad_() for z in (s, t, x)])).sum(), operands
    )
    for gradient, reference in zip(gradients, expected, strict=True):
        assert gradient.isfinite().all()
        assert_close(gradient.double(), reference, rtol=0, atol=40 * torch.finfo(dtype).eps ** 0.6)


def test_gradients_reach_the_parameters_at_equal_times() -> None:
    network = TwoTimeNetwork((3,))
    X, x, t = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) * network(s, t, x)), normal(4, 3), uniform(4)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(X.average_velocity(t, t, x).square().sum(), parameters)
    expected = torch.autograd.grad(network(t, t, x).square().sum(), parameters)
    for gradient, reference in zip(gradients, expected, strict=True):
        assert_close(gradient, reference)


def test_forward_mode_passes_through() -> None:
    s, x = uniform(4), mild(4, 3)
    t = torch.where(torch.arange(4) < 2, s, 1 - s)
    X = FlowMap.from_function(CubicFlow().average_velocity)
    assert_close(X.dt(s, t, x), FlowMap.from_function(exact).dt(s, t, x), rtol=0, atol=1e-8)


def test_half_precision_states_have_an_average_velocity() -> None:
    x = mild(4, 3)
    value = CubicFlow().average_velocity(0.3, 0.3, x.bfloat16())
    assert_close(value.double(), Cubic()(0.3, x), rtol=0.05, atol=0.02)


def test_a_map_that_jumps_off_the_diagonal_is_seen() -> None:
    """The negative control: a map that is not the identity at equal times has no such limit."""
    X = FlowMap.from_function(lambda s, t, x: CubicFlow()(s, t, x) + 0.1)
    x = mild(2, 3)
    near = X.average_velocity(0.5, 0.51, x)
    assert_close(near, CubicFlow().average_velocity(0.5, 0.51, x) + 10)


def test_conditions_stay_with_the_samples_that_are_under_way() -> None:
    label, x = torch.tensor([0.1, 1.0, 4.0, -30.0]).double(), normal(4, 2)
    X = Labelled().given(label=label).flow_map()
    expected = over(torch.expm1(0.8 * label) / 0.8, x) * x
    assert_close(X.average_velocity(0.1, 0.9, x), expected, rtol=1e-7, atol=1e-7)

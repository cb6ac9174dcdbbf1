"""The first zero of a function along a solution: `SolutionOperator.until` against closed forms and scipy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import ellipk
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops.maps.event import _root
from tests.samples import check_forward, check_reverse

pytestmark = pytest.mark.usefixtures("unchecked")


def decay(rate: float | Tensor = 1.0) -> VelocityField:
    return VelocityField.from_function(lambda _, x: -rate * x)


def pendulum(_: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -x[:, 0].sin()], 1)


def circle(_: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -x[:, 0]], 1)


def level(value: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda _, x: x.flatten(1)[:, 0] - value


@pytest.mark.parametrize("method", [None, "dopri5", "tsit5", "dop853", "bosh3", "rodas5p"])
def test_a_level_is_reached_at_the_time_of_the_closed_form(method: str | None) -> None:
    x = torch.tensor([[4.0], [1.5], [8.0], [0.5]]).double()
    found = SolutionOperator(decay(), method=method, rtol=1e-9, atol=1e-9).until(0.0, 2.0, x, level(1.0))
    assert found.occurred.tolist() == [True, True, False, False]
    assert_close(found.time, torch.tensor([math.log(4), math.log(1.5), 2, 2]).double(), rtol=0, atol=1e-7)
    assert_close(found.state[:2], torch.ones(2, 1).double(), rtol=0, atol=1e-13)
    assert_close(found.state[2:], x[2:] * math.exp(-2), rtol=0, atol=1e-7)


@pytest.mark.parametrize("angle", [0.1, 1.0, 3.0])
def test_a_pendulum_falls_in_a_quarter_of_its_period(angle: float) -> None:
    b = VelocityField.from_function(pendulum)
    start = torch.tensor([[angle, 0.0]], dtype=torch.float64)
    found = b.flow_map().until(0.0, 30.0, start, level(0.0))
    assert abs(found.time.item() - ellipk(math.sin(angle / 2) ** 2)) < 1e-9


def test_a_step_of_a_batch_is_that_of_scipy() -> None:
    b = VelocityField.from_function(pendulum)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, generator=generator).double()
    found = b.flow_map().until(0.0, 9.0, x, lambda t, y: y[:, 0] - 0.1 * t.cos())

    def event(t: float, y: np.ndarray) -> float:
        return y[0] - 0.1 * math.cos(t)

    event.terminal = True  # type: ignore[attr-defined]
    for sample, time, state in zip(x, found.time, found.state, strict=True):
        solved = solve_ivp(
            lambda _, y: [y[1], -math.sin(y[0])],
            (0, 9),
            sample.numpy(),
            events=event,
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
            max_step=0.05,
        )
        assert abs(solved.t_events[0][0] - time.item()) < 1e-9
        assert np.abs(solved.y_events[0][0] - state.numpy()).max() < 1e-9


@pytest.mark.parametrize(
    ("f", "zero", "calls"),
    [
        (lambda t: 2 * t - 1.1, 0.55, 2),
        (lambda t: t.exp() - 2, math.log(2), 6),
        (lambda t: t**3 - 0.3, 0.3 ** (1 / 3), 7),
        (lambda t: (5 * t - 1).sin(), 0.2, 7),
    ],
)
def test_a_smooth_function_takes_few_calls(f: Callable[[Tensor], Tensor], zero: float, calls: int) -> None:
    asked: list[Tensor] = []

    def counted(t: Tensor) -> Tensor:
        asked.append(t)
        return f(t)

    a, b = torch.zeros(1).double(), torch.ones(1).double()
    assert _root(counted, a, f(a), b, f(b)).item() == pytest.approx(zero, abs=1e-15)
    assert len(asked) <= calls  # bisection would take 52


def test_the_direction_and_the_way_in_time_choose_the_zero() -> None:
    X = VelocityField.from_function(circle).flow_map()
    x = torch.tensor([[0.6, 0.8]], dtype=torch.float64)  # sin(t + a), sin(a) = 0.6
    a = math.asin(0.6)
    falls, rises = math.pi - a, 2 * math.pi - a
    for direction, time in ((0, falls), (-1, falls), (1, rises)):
        assert abs(X.until(0.0, 9.0, x, level(0.0), direction=direction).time.item() - time) < 1e-9
    for direction, time in ((0, -a), (-1, -a), (1, -a - math.pi)):  # backward it falls where it rises forward
        assert abs(X.until(0.0, -9.0, x, level(0.0), direction=direction).time.item() - time) < 1e-9


def test_a_zero_at_the_start_is_none_and_one_at_the_end_is_one() -> None:
    X = VelocityField.from_function(circle).flow_map()
    x = torch.tensor([[0.0, 1.0]]).double()
    assert abs(X.until(0.0, 4.0, x, level(0.0)).time.item() - math.pi) < 1e-10
    assert not X.until(0.0, 1.0, x, level(0.0)).occurred.any()
    assert not X.until(0.0, 1.0, -x, level(0.0)).occurred.any()  # one that falls from there
    assert not X.until(0.5, 0.5, x, level(0.0)).occurred.any()
    clock = X.until(0.0, 1.5, x, lambda t, _: t - 1.5)
    assert clock.occurred.all()
    assert clock.time.item() == 1.5


def test_images_single_precision_and_parts_of_a_batch() -> None:
    x = torch.linspace(1.5, 4, 6)[:, None, None, None].expand(6, 1, 2, 3).contiguous()
    g = lambda _, y: y.mean((1, 2, 3)) - 1  # noqa: E731
    exact = torch.linspace(1.5, 4, 6).log()
    for chunk in (None, 4):
        found = SolutionOperator(decay(), chunk=chunk).until(0.0, 2.0, x, g)
        assert found.time.dtype == found.state.dtype == torch.float32
        assert found.state.shape == x.shape
        assert_close(found.time, exact, rtol=0, atol=3e-6)


def test_conditions_go_with_their_samples() -> None:
    class Decay(VelocityField):
        def forward(self, t: Tensor, x: Tensor, *, rate: Tensor) -> Tensor:
            return -rate[:, None] * x

    rate = torch.tensor([0.5, 3.0, 1.0, 2.0]).double()
    x = torch.full((4, 1), 2.0).double()
    found = SolutionOperator(Decay().given(rate=rate), chunk=3).until(0.0, 1.0, x, level(1.0))
    assert found.occurred.tolist() == [False, True, True, True]
    assert_close(found.time, (math.log(2) / rate).clamp(max=1))


def test_what_happens_before_a_sample_fails_is_found() -> None:
    blow_up = VelocityField.from_function(lambda _, x: x**2)
    X = blow_up.flow_map(on_failure="nan")
    x = torch.tensor([[1.0], [0.25]]).double()  # 1 / (1 / x - t)
    found = X.until(0.0, 2.0, x, level(0.4))
    assert found.occurred.tolist() == [False, True]
    found = X.until(0.0, 2.0, x, level(3.0))
    assert found.occurred.tolist() == [True, False]
    assert abs(found.time[0].item() - 2 / 3) < 1e-9


class Rate(VelocityField):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(1.3).double())

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return -self.rate * x * (1 + 0.2 * t[:, None])


def test_derivatives_are_those_of_the_equation_solved_for_the_time() -> None:
    b = Rate()
    X = b.flow_map()
    x = torch.tensor([[4.0, 1.0], [2.0, -1.0], [1.1, 0.5]]).double().requires_grad_()
    s = torch.tensor([0.0, 0.1, 0.2]).double().requires_grad_()

    def outcome(s: Tensor, x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        # The third sample does not arrive: the state at the end has the derivatives of the map there.
        g = lambda t, y: y[:, 0] - 0.9 - 0.05 * t  # noqa: E731
        return torch.func.functional_call(Until(X, g), {"X.b.rate": rate}, (s, x))

    check_reverse(lambda s, x: outcome(s, x, b.rate), (s, x), atol=1e-6, rtol=1e-3)
    check_forward(lambda s, x: outcome(s, x, b.rate.detach()), (s, x), atol=1e-6, rtol=1e-3)
    s, x = s.detach(), x.detach()
    assert torch.autograd.gradcheck(lambda rate: outcome(s, x, rate), b.rate, check_forward_ad=True, atol=1e-6)


class Until(nn.Module):
    def __init__(self, X: SolutionOperator, g: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.X, self.g = X, g

    def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        times = len(s) // 3  # the three samples are repeated
        found = self.X.until(s, torch.tensor([2.0, 2.0, 0.25]).double().repeat(times), x, self.g)
        assert found.occurred.tolist() == [True, True, False] * times
        return found.time, found.state


def test_what_cannot_be_is_refused() -> None:
    x = torch.ones(2, 1).double()
    X = decay().flow_map()
    with pytest.raises(ValueError, match=r"`direction` must be -1, 0 or 1, got 2; pass one of them."):
        X.until(0.0, 1.0, x, level(0.5), direction=2)
    with pytest.raises(ValueError, match=r"`g` must give one number per sample, .* got shape"):
        X.until(0.0, 1.0, x, lambda _, y: y - 0.5)
    with pytest.raises(ValueError, match=r"`method` must be an adaptive one of flowops for events, got 'rk4'"):
        decay().flow_map(method="rk4").until(0.0, 1.0, x, level(0.5))

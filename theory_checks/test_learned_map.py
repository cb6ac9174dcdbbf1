r"""Parameterizations: the identity at s = t, and an exact field.

$X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$, so $X_{s,s}=\mathrm{id}$ and $\partial_tX_{s,t}|_{s=t}=v_{t,t}$ for every network. The
second is compared with the generic forward-mode derivative of the values, which does not know the parameterization.
`Endpoint` is its network at $t=1$, and its field is that of the denoiser on the linear interpolant, up to its clip;
`CosineSine` turns $x$ into its network, which for a single data point on the trigonometric interpolant sees no $t$.

Source: 2505.18825 (6), (7); 2406.07507; 2206.00364; 2601.22158; 2410.11081.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from flowops import Interpolant, LearnedMap, interpolants, residuals
from flowops._arguments import per_event
from flowops.maps import AverageVelocity, CosineSine, EDMPreconditioning, Endpoint, Parameterization, SecondOrder
from theory_checks.cases import CLOSED_FORM, SINGLE, gaussian
from theory_checks.controls import values_only
from theory_checks.strategies import SmoothField, events, normal, seeds, unit_times
from theory_checks.verdicts import Check


class Network(nn.Module):
    """A random smooth function of (s, t, x) for any event shape."""

    def __init__(self, event: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.start, self.end = SmoothField(event, seed), SmoothField(event, seed + 50)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.start(s, x) + self.end(t, x + 0.1)


PARAMETERIZATIONS = {
    "average velocity": lambda _: AverageVelocity(),
    "second order": lambda event: SecondOrder(SmoothField(event, 77)),
    "EDM preconditioning": lambda _: EDMPreconditioning(interpolants.linear(), 0.5),
    "cosine and sine": lambda _: CosineSine(),
    "endpoint": lambda _: Endpoint(0.05),
}


@pytest.fixture(params=PARAMETERIZATIONS, ids=str)
def parameterization(request: pytest.FixtureRequest) -> Callable[[tuple[int, ...]], Parameterization]:
    return PARAMETERIZATIONS[request.param]


@given(event=events, seed=seeds, t=unit_times)
def test_identity_and_field_on_the_diagonal(parameterization, check: Check, event, seed: int, t: float) -> None:
    X = LearnedMap(Network(event, seed), parameterization(event))
    x = normal(seed, 3, *event)
    check.vanishes(residuals.identity(X, t, x), CLOSED_FORM)
    slope = values_only(X).dt(t, t, x)
    check.vanishes(X.velocity()(t, x) - slope, CLOSED_FORM, scale=1 + slope.abs().max())


@given(seed=seeds, t=unit_times)
def test_second_order_implies_its_field(check: Check, seed: int, t: float) -> None:
    b = SmoothField((2,), 77)
    X = LearnedMap(Network((2,), seed), SecondOrder(b))
    check.vanishes(residuals.tangent(X, b, t, normal(seed, 3, 2)), CLOSED_FORM)


@given(s=st.floats(0, 1), t=st.floats(0, 1))
def test_average_velocity_defines_the_map(parameterization, check: Check, s: float, t: float) -> None:
    X, x = LearnedMap(Network((2,), 3), parameterization((2,))), normal(1, 3, 2)
    check.vanishes(x + (t - s) * X.average_velocity(s, t, x) - X(s, t, x), CLOSED_FORM)


def test_single_precision(parameterization, check: Check) -> None:
    X, x = LearnedMap(Network((2,), 3), parameterization((2,))), normal(2, 3, 2)
    exact = X.velocity()(0.3, x)
    check.vanishes(X.float().velocity()(0.3, x.float()) - exact, SINGLE, scale=1 + exact.abs().max())


def test_negative_control(parameterization, check: Check) -> None:
    X, x = LearnedMap(Network((2,), 3), parameterization((2,))), normal(4, 3, 2)
    slope = values_only(X).dt(0.4, 0.4, x)
    check.sees(1.001 * slope - X.velocity()(0.4, x), 1.0005 * slope - X.velocity()(0.4, x), CLOSED_FORM)


class Known(nn.Module):
    """A function of (s, t, x) as a network."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.function(s, t, x)


@given(s=st.floats(0, 0.95), seed=seeds)
def test_the_endpoint_is_the_map_to_time_one(check: Check, s: float, seed: int) -> None:
    network, x = Network((2,), seed), normal(seed, 3, 2)
    end = LearnedMap(network, Endpoint())(s, 1.0, x)
    wanted = network(*(torch.full((3,), time, dtype=x.dtype) for time in (s, 1.0)), x)
    check.vanishes(end - wanted, CLOSED_FORM, scale=1 + wanted.abs().max())


@pytest.mark.parametrize("t", [0.0, 0.4, 0.95, 0.97])
def test_the_endpoint_of_the_denoiser_has_the_field_up_to_the_clip(check: Check, t: float) -> None:
    I, x = interpolants.linear(), normal(5, 3, 2)
    b = gaussian(I).b

    def off(delta: float) -> Tensor:
        denoiser = Known(lambda s, _, y: (1 + delta) * I.convert(s, y, b(s, y), "velocity", "denoiser"))
        return LearnedMap(denoiser, Endpoint()).velocity()(t, x) - b(t, x)

    if t > 0.95:
        assert off(0.0).abs().max() > 0.1
    else:
        check.vanishes(off(0.0), CLOSED_FORM, scale=1 + b(t, x).abs().max())
        check.sees(off(1e-2), off(5e-3), CLOSED_FORM)


@pytest.mark.parametrize("times", [(0.1, 0.8), (0.8, 0.1), (0.3, 1.0), (0.5, 0.5 + 1e-9)])
def test_cosine_and_sine_carry_a_single_data_point_with_a_network_without_t(check: Check, times) -> None:
    I, x = interpolants.trigonometric(), normal(6, 3, 2)
    (s, t), point = times, torch.tensor([0.7, -0.4], dtype=x.dtype)

    def noise(s: Tensor, x: Tensor) -> Tensor:
        return (x - per_event(I.beta(s), x) * point) / per_event(I.alpha(s), x)

    def error(I_of_network: Interpolant) -> Tensor:
        target = Known(lambda s, _, y: 2 / math.pi * I_of_network.velocity(s, noise(s, y), point.expand_as(y)))
        return LearnedMap(target, CosineSine())(s, t, x) - I(
            t, noise(torch.full((3,), s, dtype=x.dtype), x), point.expand_as(x)
        )

    check.vanishes(error(I), CLOSED_FORM)
    if abs(t - s) > 0.1:
        assert error(interpolants.linear()).abs().max() > 0.01

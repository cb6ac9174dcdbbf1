r"""Parameterizations: the identity at s = t, and an exact field.

$X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$, so $X_{s,s}=\mathrm{id}$ and $\partial_tX_{s,t}|_{s=t}=v_{t,t}$ for every network. The
second is compared with the generic forward-mode derivative of the values, which does not know the parameterization.

Source: 2505.18825 (6), (7); 2406.07507; 2206.00364.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from flowops import LearnedMap, interpolants, residuals
from flowops.maps import AverageVelocity, EDMPreconditioning, Parameterization, SecondOrder
from theory_checks.cases import CLOSED_FORM, SINGLE
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

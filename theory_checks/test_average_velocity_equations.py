r"""The identities of the average velocity: the Eulerian, Lagrangian and semigroup equations, without a division by t-s.

$$v-\big(b_s+(t-s)D_sv\big)=-(\partial_sX+\nabla X\,b_s),\qquad
  v-\big(b_t(X)-(t-s)\partial_tv\big)=\partial_tX-b_t(X),$$
$$v_{s,t}-\big((1-\gamma)v_{s,u}+\gamma v_{u,t}(X_{s,u})\big)=(X_{s,t}-X_{u,t}\circ X_{s,u})/(t-s)$$

Hypotheses: none for the equalities, which hold on wrong maps too; $X$ the flow map of $b$ for the zeros.

Source: 2505.18825 (6), (8), (22), (36), (90)-(92); 2505.13447 (6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowops import FlowMap, LearnedMap, VelocityField, residuals
from theory_checks.cases import SINGLE, Case
from theory_checks.controls import Perturbed
from theory_checks.gradients import Network
from theory_checks.method_families import Family
from theory_checks.strategies import Example, SmoothField, examples, few, normal
from theory_checks.verdicts import Check

pytestmark = pytest.mark.slow  # `make thorough` runs it too

Residual = Callable[..., Any]
RESIDUALS: dict[str, Residual] = {
    "eulerian": residuals.eulerian_velocity,
    "lagrangian": residuals.lagrangian_velocity,
    "trapezoid": residuals.trapezoid_velocity,
    "semigroup": lambda X, _b, s, t, x, **more: residuals.semigroup_velocity(X, s, t, 0.3, x, **more),
}
EVERY = pytest.mark.parametrize("residual", RESIDUALS.values(), ids=RESIDUALS)


@EVERY
@few
@given(e=examples())
def test_exact_maps_solve_them(case: Case, check: Check, residual: Residual, e: Example) -> None:
    x = case.states(e.batch, e.seed)
    X = case.fine if residual is RESIDUALS["semigroup"] else case.derive(case.fine)  # it takes no derivative
    value = residual(X, case.b, e.s, e.t, x)
    check.vanishes(value, case.tolerance, scale=case.scale(e.s, e.t, x))


@EVERY
def test_the_maps_own_rules_solve_them(case: Case, check: Check, residual: Residual) -> None:
    x = case.states(3, 1)
    for s, t in ((0.2, 0.7), (0.8, 0.3), (0.4, 0.4)):
        check.vanishes(residual(case.X, case.b, s, t, x), case.tolerance, scale=case.scale(s, t, x))


@EVERY
def test_single_precision(case: Case, check: Check, residual: Residual) -> None:
    x = case.states(3, 2).float()
    value = residual(case.X, case.b, 0.3, 0.8, x)
    assert value.dtype == torch.float32
    check.vanishes(value, SINGLE, scale=case.scale(0.3, 0.8, x))


@EVERY
def test_negative_control(case: Case, check: Check, residual: Residual) -> None:
    x = case.states(3, 3)
    maps = (Family(case.X, x[0].numel(), delta) for delta in (1e-3, 5e-4))
    wrong, half = (residual(X, case.b, 0.1, 0.9, x) for X in maps)
    check.sees(wrong, half, case.tolerance)


S = torch.tensor([0.2, 0.9, 0.4, 0.0], dtype=torch.float64)
T = torch.tensor([0.7, 0.1, 0.4, 1.0], dtype=torch.float64)
X4 = normal(8, 4, 2)
B = SmoothField((2,), seed=5)


def learned() -> FlowMap:
    """A random map, the flow of nothing, that knows its average velocity."""
    return LearnedMap(Network(11))


def perturbed() -> FlowMap:
    """A wrong map that knows only its values."""
    return Perturbed(FlowMap.from_function(learned()), 0.3)


def by_definition(X: FlowMap, name: str) -> Tensor:
    """Each residual as its formula stands, with the derivatives of v by forward mode, or in terms of X."""
    v, h = FlowMap.from_function(X.average_velocity), (T - S)[:, None]
    if name == "eulerian":
        b = B(S, X4)
        return v(S, T, X4) - b - h * v.material_derivative(S, T, X4, b)
    if name == "lagrangian":
        return v(S, T, X4) - B(T, X(S, T, X4)) + h * v.dt(S, T, X4)
    if name == "trapezoid":
        b = B(S, X4)
        ends = (b + B(T, X(S, T, X4))) / 2
        return v(S, T, X4) - ends - h / 2 * (v.material_derivative(S, T, X4, b) - v.dt(S, T, X4))
    u = torch.lerp(T, S, 0.3)
    return v(S, T, X4) - 0.7 * v(S, u, X4) - 0.3 * v(u, T, X(S, u, X4))


def by_the_map(X: FlowMap, name: str) -> Tensor:
    """Each residual from that of the map; NaN where it divides by zero."""
    if name == "eulerian":
        return -residuals.eulerian(X, B, S, T, X4)
    if name == "lagrangian":
        return residuals.lagrangian(X, B, S, T, X4)
    if name == "trapezoid":
        return (residuals.lagrangian(X, B, S, T, X4) - residuals.eulerian(X, B, S, T, X4)) / 2
    return -residuals.semigroup(X, S, torch.lerp(T, S, 0.3), T, X4) / (T - S)[:, None]


@pytest.mark.parametrize("name", RESIDUALS)
@pytest.mark.parametrize("X", [learned(), perturbed()], ids=["learned", "perturbed"])
def test_they_are_the_residuals_of_the_map(check: Check, X: FlowMap, name: str) -> None:
    value = RESIDUALS[name](X, B, S, T, X4)
    assert value.abs().max() > 0.1  # these maps solve nothing
    check.vanishes(value - by_definition(X, name), 1e-9)
    off = value - by_the_map(X, name)
    check.vanishes(off[T != S] if name == "semigroup" else off, 1e-9)


@given(gamma=st.floats(0, 1))
def test_the_semigroup_for_every_split(check: Check, gamma: float) -> None:
    X = learned()
    u = torch.lerp(T, S, gamma)
    value = residuals.semigroup_velocity(X, S, T, gamma, X4)
    check.vanishes((T - S)[:, None] * value + residuals.semigroup(X, S, u, T, X4), 1e-12)


@EVERY
def test_frozen_changes_no_value_and_stops_the_right_side(check: Check, residual: Residual) -> None:
    X = learned()
    free, frozen = (residual(X, B, S, T, X4, parts=True, frozen=f) for f in (False, True))
    for one, other in zip(free, frozen, strict=True):
        check.vanishes(one - other, 1e-12)
    check.vanishes(residual(X, B, S, T, X4, frozen=True) - (free.left - free.right), 1e-12)
    assert free.right.requires_grad
    assert not frozen.right.requires_grad
    pull = normal(9, 4, 2)
    parameters = tuple(X.parameters())
    wanted = torch.autograd.grad((pull * X.average_velocity(S, T, X4)).sum(), parameters)
    found = torch.autograd.grad((pull * (frozen.left - frozen.right)).sum(), parameters)
    for g, h in zip(wanted, found, strict=True):
        check.vanishes(g - h, 1e-10)


@EVERY
def test_frozen_on_an_exact_map_with_parameters_in_the_field(check: Check, residual: Residual) -> None:
    field: VelocityField = SmoothField((2,), seed=5)
    value = residual(field.flow_map(), field, 0.2, 0.7, X4, frozen=True)
    check.vanishes(value, 1e-7)

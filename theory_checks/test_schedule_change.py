r"""Schedule change: conjugates fields and maps, round-trips, commutes with composition.

$$\bar b_{t'}(x)=\tfrac{\dot c}{c}x+c\,\dot\tau\,b_\tau(x/c),\qquad\bar
X_{s',t'}(x)=c_{t'}X_{\tau(s'),\tau(t')}(x/c_{s'})$$

Hypotheses: two-term interpolants, the new signal-to-noise range inside the old one. Ground truth: the closed forms of a
Gaussian and the exact field of a mixture, written for the new schedule directly.

Source: 2206.00364; 2107.00630.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowops import Interpolant, VelocityField, interpolants, reschedule
from theory_checks.cases import CLOSED_FORM, SOLVED, draw, exact_map, gaussian, mixture
from theory_checks.controls import values_only
from theory_checks.verdicts import Check

pytestmark = [pytest.mark.slow, pytest.mark.two_terms]

OLD = {"linear": interpolants.linear(), "trigonometric": interpolants.trigonometric(), "cosine": interpolants.cosine()}
SINGLE = 40 * torch.finfo(torch.float32).eps  # the ends are limits, and lose no digits
edge_times = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.001, 0.999))


@pytest.fixture(params=OLD, ids=str)
def old(request: pytest.FixtureRequest) -> Interpolant:
    return OLD[request.param]


@given(t=edge_times, seed=st.integers(0, 99))
def test_fields(old: Interpolant, interpolant: Interpolant, check: Check, t: float, seed: int) -> None:
    for problem in (gaussian, mixture):
        truth = problem(interpolant)
        x = draw(truth, t, 3, seed=seed)
        b = truth.b(t, x)
        check.vanishes(reschedule(problem(old).b, old, interpolant)(t, x) - b, CLOSED_FORM, scale=1 + b.abs().max())


@given(s=edge_times, t=edge_times, seed=st.integers(0, 99))
def test_maps(old: Interpolant, interpolant: Interpolant, check: Check, s: float, t: float, seed: int) -> None:
    truth = gaussian(interpolant)
    x = draw(truth, s, 3, seed=seed)
    value = exact_map(truth)(s, t, x)
    check.vanishes(
        reschedule(exact_map(gaussian(old)), old, interpolant)(s, t, x) - value, CLOSED_FORM, scale=1 + value.abs()
    )


def test_derivatives_of_maps(old: Interpolant, interpolant: Interpolant, check: Check) -> None:
    truth, moved = gaussian(interpolant), reschedule(exact_map(gaussian(old)), old, interpolant)
    x, u, w = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    args = (0.3, 0.8, x)
    directions = {"dt": (), "ds": (), "jvp": (u,), "vjp": (w,), "jacobian": (), "material_derivative": (u,)}
    for name, extra in directions.items():
        exact = getattr(values_only(exact_map(truth)), name)(*args, *extra)
        for value in (getattr(moved, name)(*args, *extra), getattr(values_only(moved), name)(*args, *extra)):
            check.vanishes(value - exact, CLOSED_FORM, scale=1 + exact.abs().max())


@given(t=st.floats(0.01, 0.99))
def test_round_trip(old: Interpolant, check: Check, t: float) -> None:
    new = interpolants.trigonometric()
    problem = gaussian(old)
    there_and_back = reschedule(reschedule(problem.b, old, new), new, old)
    x = draw(problem, t, 3, seed=2)
    b = problem.b(t, x)
    check.vanishes(there_and_back(t, x) - b, CLOSED_FORM, scale=1 + b.abs())
    X = reschedule(reschedule(exact_map(problem), old, new), new, old)
    check.vanishes(X(t, 0.4, x) - exact_map(problem)(t, 0.4, x), CLOSED_FORM, scale=1 + x.abs())


def test_commutes_with_composition_and_solution(interpolant: Interpolant, check: Check) -> None:
    old = OLD["linear"]
    x = draw(mixture(interpolant), 0.3, 3, seed=3)
    b = mixture(old).b
    moved_map, moved = reschedule(b.flow_map(), old, interpolant), reschedule(b, old, interpolant)
    routes = [VelocityField.from_function(lambda t, y: moved(t, y))]  # knows of no better clock
    if moved.clock() is not None:
        routes.append(moved)
    value = moved_map(0.3, 0.9, x)
    check.vanishes(moved_map(0.6, 0.9, moved_map(0.3, 0.6, x)) - value, SOLVED, scale=1 + value.abs())
    for field in routes:
        check.vanishes(field.flow_map()(0.3, 0.9, x) - value, SOLVED, scale=1 + value.abs().max())


def test_truncated_clock(check: Check) -> None:
    old, new = interpolants.variance_preserving(), OLD["linear"]
    truth = gaussian(new)
    moved = reschedule(exact_map(gaussian(old)), old, new, truncate=True)
    x = draw(truth, 0.2, 3, seed=6)
    for s, t in ((0.2, 1.0), (1.0, 0.01), (0.4, 0.4)):
        value = exact_map(truth)(s, t, x)
        check.vanishes(moved(s, t, x) - value, CLOSED_FORM, scale=1 + value.abs())
    for t in (0.0, 0.003, 0.7):  # a flow, and that of its field, across the truncated end
        check.vanishes(moved(0.2, t, moved(t, 0.2, x)) - x, CLOSED_FORM, scale=1 + x.abs())
        b = reschedule(gaussian(old).b, old, new, truncate=True)(t, moved(0.2, t, x))
        check.vanishes(values_only(moved).dt(0.2, t, x) - b, CLOSED_FORM, scale=1 + b.abs().max())


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_single_precision(old: Interpolant, interpolant: Interpolant, check: Check, t: float) -> None:
    for problem in (gaussian, mixture):
        truth = problem(interpolant)
        x = draw(truth, t, 3, seed=4).float()
        b = truth.b(t, x.double())
        check.vanishes(reschedule(problem(old).b, old, interpolant)(t, x) - b, SINGLE, scale=1 + b.abs().max())
    exact, moved = exact_map(gaussian(interpolant)), reschedule(exact_map(gaussian(old)), old, interpolant)
    for name, args in (("dt", (0.3, t)), ("ds", (t, 0.3))):
        x = draw(gaussian(interpolant), args[0], 3, seed=4).float()
        value = getattr(exact, name)(*args, x.double())
        check.vanishes(getattr(moved, name)(*args, x) - value, SINGLE, scale=1 + value.abs().max())


@pytest.mark.parametrize("t", [0.4, 1.0])
def test_negative_control(interpolant: Interpolant, check: Check, t: float) -> None:
    old = OLD["linear"]
    truth = gaussian(interpolant)
    x = draw(truth, t, 3, seed=5)
    exact, b = truth.b(t, x), gaussian(old).b
    wrong, half = (reschedule((1 + d) * b, old, interpolant)(t, x) - exact for d in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)

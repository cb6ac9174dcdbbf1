r"""Inverse: X_{t,s}(X_{s,t}(x)) = x.

Hypotheses: $X$ is the flow map of a field; the map with its times swapped is then its inverse. As a map of $(s,t)$ the
inverse is no flow map: $Y_{s,t}=X_{t,s}$ has the field $-b_t$ on its diagonal but composes in the wrong order,
$Y_{u,t}\circ Y_{s,u}=X_{t,u}\circ X_{u,s}$, which is $Y_{s,t}=X_{t,s}=X_{u,s}\circ X_{t,u}$ only where the flow
commutes, as that of a field that does not depend on time. For $X_{s,t}(x)=h_t+e^{A(s,t)}(x-h_s)$ the defect is
$(h_u-h_s)-e^{A(t,u)}(h_t-h_s)+e^{A(t,s)}(h_t-h_u)$ whatever $x$, linear in the size of $h$.

Source: 2505.18825 after (10).
"""

import math

import pytest
import torch

from flowops import FlowMap, interpolants, problems, residuals
from theory_checks.batches import batch
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, draw, exact_map, gaussian, pure_problems
from theory_checks.controls import Perturbed
from theory_checks.verdicts import Check


def test_swapped_times_undo_the_map(case: Case, check: Check) -> None:
    s, _, t, x = batch(case, seed=0)
    check.vanishes(residuals.inverse(case.X, s, t, x), case.tolerance, scale=case.scale(t, s, x))


def test_it_undoes_the_map_on_both_sides(case: Case, check: Check) -> None:
    x = case.states(3, 1)
    y = case.X(0.2, 0.8, x)
    check.vanishes(case.X(0.8, 0.2, y) - x, case.tolerance, scale=1 + x.abs())
    back = case.X(0.8, 0.2, x)
    check.vanishes(case.X(0.2, 0.8, back) - x, case.tolerance, scale=1 + x.abs() + back.abs())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 2).float()
    check.vanishes(residuals.inverse(case.X, 0.7, 0.2, x), SINGLE, scale=case.scale(0.7, 0.2, x))


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 3)
    wrong, half = (residuals.inverse(Perturbed(case.X, delta), 0.1, 0.9, x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)


def swapped(X: FlowMap) -> FlowMap:
    r"""$(s,t,x)\mapsto X_{t,s}(x)$."""
    return FlowMap.from_function(lambda s, t, x: X(t, s, x))


def defect(amplitude: float, s: float, u: float, t: float) -> float:
    r"""$Y_{u,t}(Y_{s,u}(x))-Y_{s,t}(x)$ of the time-dependent equation with its other defaults, by hand."""
    h, a = (lambda tau: amplitude * math.sin(2 * tau)), (lambda tau: -math.sin(math.pi * tau) / math.pi)
    return h(u) - h(s) - math.exp(a(u) - a(t)) * (h(t) - h(s)) + math.exp(a(s) - a(t)) * (h(t) - h(u))


@pytest.mark.parametrize(("s", "u", "t"), [(0.1, 0.5, 0.9), (0.8, 0.2, 0.5)])
def test_the_swapped_map_is_no_flow_map(check: Check, s: float, u: float, t: float) -> None:
    for event in ((1,), (), (2, 2, 2)):
        problem = problems.time_dependent_scalar(event=event)
        x = problem.sample_base(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        check.vanishes(residuals.semigroup(problem.X, s, u, t, x), CLOSED_FORM)
        found = residuals.semigroup(swapped(problem.X), s, u, t, x)
        check.vanishes(found - defect(1.0, s, u, t), CLOSED_FORM)
        assert found.abs().min() > 0.05
        check.vanishes(residuals.tangent(swapped(problem.X), -1.0 * problem.b, t, x), CLOSED_FORM)
        assert residuals.lagrangian(swapped(problem.X), -1.0 * problem.b, s, t, x).abs().max() > 0.1


def test_the_defect_of_the_swapped_map_grows_with_the_forcing(check: Check) -> None:
    x = torch.zeros(1, 1, dtype=torch.float64)
    maps = (swapped(problems.time_dependent_scalar(amplitude=size).X) for size in (1.0, 0.5))
    whole, half = (residuals.semigroup(X, 0.1, 0.5, 0.9, x) for X in maps)
    check.sees(whole, half, CLOSED_FORM)


@pytest.mark.parametrize("name", ["linear", "rotation", "logistic"])
def test_the_swapped_map_of_a_field_without_time_is_a_flow_map(check: Check, name: str) -> None:
    problem = pure_problems()[name]
    x = draw(problem, 0.5, 3, seed=4)
    check.vanishes(residuals.semigroup(swapped(exact_map(problem)), 0.1, 0.5, 0.9, x), CLOSED_FORM)
    residual = residuals.lagrangian(swapped(exact_map(problem)), -1.0 * problem.b, 0.1, 0.9, x)
    check.vanishes(residual, CLOSED_FORM, scale=1 + x.abs().max())


@pytest.mark.parametrize("name", interpolants.NAMED)
def test_a_gaussian_pair_swapped_is_a_flow_map_only_where_its_mean_rests(name: str) -> None:
    interpolant = interpolants.NAMED[name]()
    X, x = exact_map(gaussian(interpolant)), draw(gaussian(interpolant), 0.1, 3, seed=5)
    found = residuals.semigroup(swapped(X), 0.1, 0.5, 0.9, x) / x.abs().max()
    way = interpolant.beta(torch.tensor([0.1, 0.5, 0.9]).double()).diff().abs().max()
    assert found.abs().max() < CLOSED_FORM if way == 0 else found.abs().max() > 0.001

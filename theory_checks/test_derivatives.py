r"""Derivatives: a map's own rules equal the generic ones and central differences.

Hypotheses: none. The generic rule is `torch.func` through the map's values (for solved maps: through a fixed-step solve
of the same field); central differences converge like $h^2$.

Source: 2505.18825 (8), (9); variational equation.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap
from flowops._arguments import per_event
from theory_checks.batches import batch
from theory_checks.cases import Case
from theory_checks.controls import Perturbed
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

DIRECTIONAL = ("jvp", "material_derivative", "vjp")
PLAIN = ("dt", "ds", "jacobian", "log_abs_det", "average_velocity")


def derivative(X: FlowMap, name: str, s: Tensor | float, t: Tensor | float, x: Tensor) -> Tensor:
    """A derivative by name, along a fixed direction where it takes one."""
    extra = (normal(11, *x.shape),) if name in DIRECTIONAL else ()
    return getattr(X, name)(s, t, x, *extra)


@pytest.mark.parametrize("name", PLAIN + DIRECTIONAL)
def test_own_rules_equal_the_generic_ones(case: Case, check: Check, name: str) -> None:
    s, _, t, x = (part[::3] for part in batch(case, seed=0))
    own = derivative(case.X, name, s, t, x)
    generic = derivative(case.derive(case.fine), name, s, t, x)
    check.vanishes(own - generic, case.tolerance, scale=1 + generic.abs().max())


MOVED = {"dt": (0, 1, 0), "ds": (1, 0, 0), "jvp": (0, 0, 1), "material_derivative": (1, 0, 1)}  # s, t and the state


def central(X: FlowMap, name: str, steps: Tensor, x: Tensor, s: float, t: float) -> Tensor:
    """Central differences of the map's values for one of its directional derivatives, of every step in one call."""
    h = torch.cat([steps, -steps]).to(x.dtype).repeat_interleave(len(x))
    u, (ds, dt, along) = normal(11, *x.shape), MOVED[name]
    count = 2 * len(steps)
    states = torch.cat(count * [x]) + along * per_event(h, x) * torch.cat(count * [u])
    ahead, behind = X(s + ds * h, t + dt * h, states).reshape(2, len(steps), *x.shape)
    return (ahead - behind) / (2 * steps.to(x.dtype).reshape(-1, *[1] * x.ndim))


@pytest.mark.parametrize("name", MOVED)
def test_central_differences_converge_at_second_order(case: Case, check: Check, name: str) -> None:
    x, s, t = case.states(4, 1), 0.35, 0.7
    exact = derivative(case.X, name, s, t, x)
    steps = torch.tensor([0.04, 0.02, 0.01])
    errors = (central(case.X, name, steps, x, s, t) - exact).detach().flatten(1).norm(dim=1)
    if errors[0] < 1e-6 * (1 + exact.detach().norm()):
        check.vanishes(errors / (1 + exact.norm()), 1e-6)  # a quadratic: central differences are exact
    else:
        check.order(errors, steps, expected=2.0)


def test_value_and_dt_agree_with_their_parts(case: Case, check: Check) -> None:
    x = case.states(3, 2)
    value, dt = case.X.value_and_dt(0.2, 0.9, x)
    check.vanishes(value - case.X(0.2, 0.9, x), case.tolerance, scale=1 + value.abs())
    check.vanishes(dt - case.X.dt(0.2, 0.9, x), case.tolerance, scale=1 + dt.abs())


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 3)
    exact = case.X.dt(0.2, 0.8, x)
    wrong, half = (case.derive(Perturbed(case.fine, delta)).dt(0.2, 0.8, x) - exact for delta in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)

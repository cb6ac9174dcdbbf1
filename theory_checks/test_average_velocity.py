r"""Average velocity: X = x + (t-s) v, with its Eulerian and semigroup identities.

$$v_{s,t}=b_s+(t-s)\,(\partial_sv_{s,t}+\nabla v_{s,t}\,b_s),\qquad
  v_{s,t}(x)=(1-\gamma)\,v_{s,u}(x)+\gamma\,v_{u,t}(X_{s,u}(x)),\quad u=\gamma s+(1-\gamma)t$$

Hypotheses: $X$ is the flow map of $b$. The first is the MeanFlow identity.

Source: 2505.18825 (6), (36), (90)-(92); 2505.13447.
"""

import torch

from flowops import FlowMap
from flowops._arguments import per_event
from theory_checks.batches import batch
from theory_checks.cases import SINGLE, Case
from theory_checks.controls import Perturbed
from theory_checks.verdicts import Check


def test_defines_the_map(case: Case, check: Check) -> None:
    s, _, t, x = batch(case, seed=0)
    value = case.X(s, t, x)
    step = per_event(t - s, x) * case.X.average_velocity(s, t, x)
    check.vanishes(x + step - value, case.tolerance, scale=1 + value.abs())


def test_is_the_field_on_the_diagonal_and_near_it(case: Case, check: Check) -> None:
    x = case.states(3, 1)
    b = case.b(0.4, x)
    check.vanishes(case.X.average_velocity(0.4, 0.4, x) - b, case.tolerance, scale=1 + b.abs())
    check.vanishes(case.X.average_velocity(0.4, 0.4 + 1e-12, x) - b, case.tolerance, scale=1 + b.abs())


def test_generic_quotient_joins_its_limit(case: Case, check: Check) -> None:
    x = case.states(3, 2)
    h = torch.tensor([1e-6, 7e-4, 8e-4], dtype=x.dtype)  # below, just below and just above the switch
    exact = case.fine.average_velocity(0.4, 0.4 + h, x)
    generic = FlowMap.average_velocity(case.derive(case.fine), 0.4, 0.4 + h, x)
    check.vanishes(generic - exact, case.tolerance, scale=1 + exact.abs())


def test_meanflow_identity(case: Case, check: Check) -> None:
    x, s, t = case.states(3, 3), 0.2, 0.9
    v = case.derive(FlowMap.from_function(case.fine.average_velocity))
    b = case.b(s, x)
    residual = v(s, t, x) - b - (t - s) * v.material_derivative(s, t, x, b)
    check.vanishes(residual, case.tolerance, scale=case.scale(s, t, x))


def test_semigroup_identity(case: Case, check: Check) -> None:
    *_, x = batch(case, seed=1)
    gamma = torch.linspace(0.05, 0.95, len(x), dtype=x.dtype)
    s, t = torch.full_like(gamma, 0.1), torch.full_like(gamma, 0.8)
    u, v, weight = gamma * s + (1 - gamma) * t, case.X.average_velocity, per_event(gamma, x)
    residual = v(s, t, x) - (1 - weight) * v(s, u, x) - weight * v(u, t, case.X(s, u, x))
    check.vanishes(residual, case.tolerance, scale=case.scale(s, t, x))


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 4).float()
    b = case.b(0.5, x)
    check.vanishes(case.X.average_velocity(0.5, 0.5, x) - b, SINGLE, scale=1 + b.abs())


def test_negative_control(case: Case, check: Check) -> None:
    x, s, t = case.states(3, 5), 0.2, 0.9

    def residual(delta: float) -> torch.Tensor:
        X = case.derive(Perturbed(case.fine, delta))
        v = case.derive(FlowMap.from_function(X.average_velocity))
        b = case.b(s, x)
        return v(s, t, x) - b - (t - s) * v.material_derivative(s, t, x, b)

    check.sees(residual(1e-3), residual(5e-4), case.tolerance)

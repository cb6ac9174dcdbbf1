r"""Semigroup: X_{u,t}(X_{s,u}(x)) = X_{s,t}(x) for times in any order.

Hypotheses: $X$ is the flow map of a field. The converse needs the tangent condition and continuity of $v$: the map
$X_{s,t}(x)=x$ is a semigroup too.

Source: 2505.18825 Prop. 2.2 (10), (47), (55).
"""

import itertools

import torch
from hypothesis import given

from flowops import FlowMap, residuals
from theory_checks.batches import batch
from theory_checks.cases import SINGLE, SOLVED, Case, solved
from theory_checks.controls import Perturbed
from theory_checks.strategies import Example, SmoothField, events, examples, few, normal, seeds
from theory_checks.verdicts import Check


def test_exact_maps_compose(case: Case, check: Check) -> None:
    s, u, t, x = batch(case, seed=0)
    check.vanishes(residuals.semigroup(case.X, s, u, t, x), case.tolerance, scale=case.scale(s, t, x))


@few
@given(e=examples(), event=events, seed=seeds)
def test_random_smooth_fields_compose(check: Check, e: Example, event: tuple[int, ...], seed: int) -> None:
    X, x = solved(SmoothField(event, seed).requires_grad_(False)), normal(e.seed, e.batch, *event)
    check.vanishes(residuals.semigroup(X, e.s, e.u, e.t, x), SOLVED, scale=1 + x.abs().max())


def test_every_order_of_the_times(case: Case, check: Check) -> None:
    orders = torch.tensor(list(itertools.permutations((0.2, 0.55, 0.9))), dtype=torch.float64)
    s, u, t = orders.repeat(3, 1).unbind(1)
    x = case.states(3, 1).repeat_interleave(6, 0)
    check.vanishes(residuals.semigroup(case.X, s, u, t, x), case.tolerance, scale=case.scale(s, t, x))


def test_composition_along_a_grid(case: Case, check: Check) -> None:
    x = case.states(3, 2)
    states = case.X.compose([0.1, 0.6, 0.3, 0.8], x, trajectory=True)
    check.vanishes(states[-1] - case.X(0.1, 0.8, x), case.tolerance, scale=1 + states[-1].abs())
    check.vanishes(states[1] - case.X(0.1, 0.6, x), case.tolerance, scale=1 + states[1].abs())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(3, 3).float()
    check.vanishes(residuals.semigroup(case.X, 0.7, 0.2, 0.9, x), SINGLE, scale=case.scale(0.7, 0.9, x))


def test_negative_control(case: Case, check: Check) -> None:
    x = case.states(3, 4)
    wrong, half = (residuals.semigroup(Perturbed(case.X, d), 0.1, 0.5, 0.9, x) for d in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)


def test_the_constant_map_is_a_semigroup_of_no_interest(case: Case, check: Check) -> None:
    x = case.states(3, 5)
    constant = FlowMap.from_function(lambda _s, _t, y: y)
    check.vanishes(residuals.semigroup(constant, 0.1, 0.5, 0.9, x), case.tolerance)
    assert residuals.tangent(constant, case.b, 0.3, x).abs().max() > torch.tensor(1e-3)

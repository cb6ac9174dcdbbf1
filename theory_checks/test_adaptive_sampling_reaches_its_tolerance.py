r"""Adaptive sampling is within its tolerance of the flow of a map's own diagonal, where the map has an order.

A sample stops when the composition of $2k$ steps and that of $k$, or what is extrapolated from both, differ by less
than the tolerance. Hypotheses: $X_{s,t}=x+(t-s)v_{s,t}(x)$, $v$ smooth, and first steps short enough for errors to
fall with the steps. What the estimate measures is the map against itself: for one halving it is the semigroup defect at
the middle, which grows with a perturbation of the map, and which the identity does not have whatever it should be.

Source: 2505.18825 (10), (47); Hairer, Norsett, Wanner, Solving ODEs I, §II.9.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems, residuals
from flowops.maps import SolverStep
from flowops.sampling import Adapted, adaptive_sample
from flowops.sampling.adaptive import distance
from flowops.sampling.grids import uniform
from theory_checks.cases import CLOSED_FORM, draw, exact_map
from theory_checks.controls import Perturbed
from theory_checks.strategies import normal
from theory_checks.test_extrapolation_on_the_semigroup_gains_an_order import LEARNED
from theory_checks.verdicts import Check

PROBLEM = problems.REFERENCE["gaussian"](interpolants.trigonometric())


def beside(found: Adapted, b: VelocityField, x0: Tensor) -> Tensor:
    """How far every sample is from the flow of `b`, as the tolerance measures it."""
    return distance(found.x, b.flow_map()(0.0, 1.0, x0))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("event", [(2,), (3, 2, 2)])
def test_a_map_with_its_own_diagonal(check: Check, event: tuple[int, ...], order: int) -> None:
    x0, tolerances = normal(0, 6, *event), (1e-1, 1e-2, 1e-3)
    for tolerance in tolerances:
        found = adaptive_sample(LEARNED, x0, tolerance, grid=uniform(2), halvings=12, order=order)
        assert bool(found.reached.all())
        check.at_most(float((beside(found, LEARNED.velocity(), x0) / tolerance).max()), 1.2)


def test_steps_of_a_method_and_fewer_calls_by_a_higher_order(check: Check) -> None:
    X, x0 = SolverStep(PROBLEM.b, "euler"), draw(PROBLEM, 0.0, 20, seed=1)
    plain, raised = (adaptive_sample(X, x0, 1e-3, halvings=12, order=order) for order in (1, 3))
    for found in (plain, raised):
        check.at_most(float(beside(found, PROBLEM.b, x0).max() / 1e-3), 1.2)
    assert int(raised.calls.sum()) < int(plain.calls.sum()) / 4


def test_an_exact_map_is_taken_at_once(check: Check) -> None:
    x0 = draw(PROBLEM, 0.0, 5, seed=2)
    found = adaptive_sample(exact_map(PROBLEM), x0, 1e-6)
    check.vanishes(found.error, CLOSED_FORM)
    assert found.calls.tolist() == [3] * 5


def test_the_estimate_of_one_halving_is_the_semigroup_defect(check: Check) -> None:
    x0 = normal(3, 4, 2)
    found = adaptive_sample(LEARNED, x0, 10.0, halvings=1)
    composed, direct = residuals.semigroup(LEARNED, 0.0, 0.5, 1.0, x0, parts=True)
    check.vanishes(found.error - distance(composed, direct), CLOSED_FORM)
    check.vanishes(found.x - composed, CLOSED_FORM)


def test_a_map_that_composes_has_no_defect_and_may_be_wrong() -> None:
    x0 = normal(4, 5, 2) + 3
    found = adaptive_sample(FlowMap.from_function(lambda _, __, x: x), x0, 1e-9)
    assert found.error.max() == 0
    assert bool(found.reached.all())
    assert beside(found, LEARNED.velocity(), x0).min() > 0.05


def test_one_sample_in_single_precision(check: Check) -> None:
    x0 = normal(5, 1, 2)
    single = adaptive_sample(LEARNED, x0.float(), 1e-2, halvings=10)
    assert single.x.dtype == torch.float32
    check.vanishes(single.x - adaptive_sample(LEARNED, x0, 1e-2, halvings=10).x, 1e-5, scale=1 + x0.abs().max())


def test_negative_control(check: Check) -> None:
    x0 = draw(PROBLEM, 0.0, 5, seed=6)
    estimates = [
        adaptive_sample(Perturbed(exact_map(PROBLEM), delta), x0, 1.0, halvings=1).error for delta in (1e-3, 5e-4)
    ]
    check.sees(estimates[0], estimates[1], CLOSED_FORM)

r"""A calibrated plan leaves at most the promised share of samples beyond the tolerance, with the promised confidence.

Of $M$ plans those are taken for safe whose number $k$ of samples beyond the tolerance, among $n$, has
$\mathbb P[\mathrm{Bin}(n,\alpha)\le k]\le\delta/M$. Then with a probability of at least $1-\delta$ every plan that is
taken for safe leaves at most $\alpha$ of all samples beyond it, so that the cheapest may be chosen after looking.
Hypothesis: calibration samples are independent and of the law of those that are drawn later; of another law nothing is
promised. With one plan the bound is an order statistic, and no smaller one would do; with many, not to divide by $M$
breaks the promise.

Source: Angelopoulos, Bates, Candès, Jordan, Lei, Learn then Test, 2110.01052 Thm. 1.
"""

import pytest
import torch
from scipy.stats import beta
from torch import Tensor

from flowops import SolutionOperator, interpolants, problems
from flowops.maps import SolverStep
from flowops.sampling import Calibration, Plan, calibrate
from flowops.sampling.adaptive import distance
from flowops.sampling.grids import uniform
from theory_checks.cases import CLOSED_FORM, draw, exact_map
from theory_checks.strategies import normal
from theory_checks.test_extrapolation_on_the_semigroup_gains_an_order import LEARNED
from theory_checks.verdicts import Check

PROBLEM = problems.REFERENCE["gaussian"](interpolants.trigonometric())


def of(errors: Tensor) -> Calibration:
    """A calibration with these errors, whose plans cost the more calls the later they stand."""
    plans = tuple(Plan(tuple(uniform(k))) for k in range(1, len(errors) + 1))
    return Calibration(plans, torch.arange(1.0, len(errors) + 1).double(), errors)


@pytest.mark.parametrize(("n", "share", "confidence"), [(100, 0.1, 0.95), (400, 0.1, 0.95), (300, 0.02, 0.8)])
def test_with_one_plan_the_bound_is_an_order_statistic(check: Check, n: int, share: float, confidence: float) -> None:
    ordered = torch.arange(1, n + 1).double()[None] / n  # the bound says which of them it is
    place = round(float(of(ordered).bounds(share, confidence)) * n)
    too_low = beta.cdf(1 - share, place, n - place + 1)  # of the errors of uniform law
    check.at_most(too_low, 1 - confidence)
    assert beta.cdf(1 - share, place - 1, n - place + 2) > 1 - confidence


@pytest.mark.parametrize("shared", [True, False])
def test_the_cheapest_of_many_keeps_the_promise(check: Check, shared: bool) -> None:
    r"""Plan $j$ is wrong by $c_j$ times an exponential, the same for all or its own; of such the truth is known."""
    share, confidence, tolerance, n, repeats, plans = 0.1, 0.9, 1.0, 200, 400, 30
    scales = torch.logspace(0, -1, plans, dtype=torch.float64)
    beyond, generator = torch.exp(-tolerance / scales), torch.Generator().manual_seed(int(shared))
    broken = 0
    for _ in range(repeats):
        draws = torch.rand(1 if shared else plans, n, generator=generator, dtype=torch.float64).log().neg()
        plan = of(scales[:, None] * draws).plan(tolerance, share=share, confidence=confidence)
        broken += float(beyond[len(plan.grid) - 2]) > share
    deviation = (confidence * (1 - confidence) / repeats) ** 0.5
    check.at_most(broken / repeats, 1 - confidence + 3 * deviation)


def test_without_dividing_by_their_number_it_is_broken() -> None:
    """Fifty plans that are each a little beyond: what is safe for one of them is not for the luckiest."""
    share, n, plans, repeats = 0.1, 200, 50, 100
    broken = {True: 0, False: 0}
    for seed in range(repeats):
        errors = torch.rand(plans, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - share
        together, alone = of(errors), [of(row[None]) for row in errors]  # beyond 0.895 is a share of 0.105 - 1e-12
        found = {True: together.bounds(share, 0.9).min(), False: min(one.bounds(share, 0.9).min() for one in alone)}
        for divided, bound in found.items():
            broken[divided] += bool(bound <= 1 - share - 0.105)
    assert broken[True] <= 0.1 * repeats
    assert broken[False] >= 0.8 * repeats


@pytest.mark.parametrize("event", [(2,), (3, 2, 2)])
def test_a_map_with_its_own_diagonal(check: Check, event: tuple[int, ...]) -> None:
    measured, x0 = calibrate(LEARNED, normal(0, 250, *event)), normal(1, 1000, *event)
    truth = SolutionOperator(LEARNED.velocity())(0.0, 1.0, x0)
    for tolerance in (0.3, 0.1, 0.01, 0.003):
        x, calls = measured.plan(tolerance).sample(LEARNED, x0)
        check.at_most(float((distance(x, truth) > tolerance).double().mean()), 0.1)
        assert calls.double().mean() < 64


def test_what_is_measured_is_what_a_plan_does(check: Check) -> None:
    """Errors come from one table of passes; sampling by each plan is another way to them."""
    X, x0 = SolverStep(PROBLEM.b, "euler"), draw(PROBLEM, 0.0, 40, seed=2)
    measured, truth = calibrate(X, x0, PROBLEM.b), exact_map(PROBLEM)(0.0, 1.0, x0[8:])
    for plan, calls, errors in zip(measured.plans, measured.calls, measured.errors, strict=True):
        x, spent = plan.sample(X, x0[8:])
        check.vanishes(distance(x, truth) - errors, 1e-5)  # of the solve
        check.vanishes(spent.double().mean() - calls, CLOSED_FORM)


def test_an_exact_map_takes_one_step() -> None:
    measured = calibrate(exact_map(PROBLEM), draw(PROBLEM, 0.0, 200, seed=3), PROBLEM.b)
    assert measured.plan(1e-4) == Plan((0.0, 1.0))


def test_of_another_law_nothing_is_promised() -> None:
    """Negative control: a plan that was calibrated near the middle carries states twenty times as far out."""
    X, x0 = SolverStep(PROBLEM.b, "euler"), draw(PROBLEM, 0.0, 300, seed=4)
    plan, truth = calibrate(X, x0 / 20, PROBLEM.b).plan(0.05), exact_map(PROBLEM)(0.0, 1.0, x0)
    assert (distance(plan.sample(X, x0)[0], truth) > 0.05).double().mean() > 0.2  # promised are 0.1

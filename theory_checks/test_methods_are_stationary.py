r"""Methods with a conditional velocity have zero expected gradient at the exact flow map.

Hypotheses: a squared norm, a weight of the times alone, the velocity field $b_t=\mathbb E[\dot I_t\mid I_t]$ of the
interpolant. The gradient is that of $X+\sum_j\theta_j(t-s)g_j$ with random smooth $g_j$; its expectation is a
Gauss-Hermite quadrature over $(x_0,x_1,z)$ at fixed times, so that no statistical error hides anything. At
$\theta=\delta$ it grows like $\delta$. Regressions have the conditional variance $\mathbb E|\dot I_t-b_t(I_t)|^2$ as
minimum, from which the excess grows like $\delta^2$. The rows as they are called, random times and all, are then held
to their standard errors.

Source: 2209.03003; 2303.08797; 2406.07507 Prop. 3.11; 2505.18825 Prop. 2.3; 2512.02012.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowops import interpolants
from flowops.methods import METHODS, Method
from flowops.problems import Problem
from theory_checks.cases import gaussian, mixture
from theory_checks.method_cases import OTHER_MINIMIZER, Aspect, aspects, every_aspect
from theory_checks.method_families import family_through, true_map
from theory_checks.method_measurements import (
    PAIRS,
    at,
    by_theta,
    family,
    gradient_grows,
    has_its_minimum,
    hold,
    is_semigradient,
    is_stationary,
    loss_grows,
)
from theory_checks.method_settings import SCHEDULES, Setting, conditional_variance, quadrature_settings, skew_setting
from theory_checks.verdicts import Check

pytestmark = pytest.mark.slow  # `make thorough` runs it too

CONDITIONAL = [(m, a) for m, a in every_aspect() if not a.exact and m.name not in OTHER_MINIMIZER]
PLAIN = [pytest.param(m, a, id=a.name) for m, a in CONDITIONAL if a.order is None]
ANY_STEP = [pytest.param(m, a, id=a.name) for m, a in CONDITIONAL]
REGRESSIONS = [pytest.param(m, a, id=a.name) for m, a in CONDITIONAL if a.minimum]
STOPPED = [pytest.param(m, a, id=a.name) for m, a in CONDITIONAL if a.stopped]
SETTINGS = [pytest.param(setting, id=setting.name) for setting in quadrature_settings()]
CONTROLS = [pytest.param(setting, id=setting.name) for setting in (quadrature_settings()[0], skew_setting(20))]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("method", "aspect"), PLAIN)
def test_at_the_exact_map(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, is_stationary(method, aspect, setting))


@pytest.mark.parametrize(("method", "aspect"), PLAIN)
def test_the_inverse_term_moves_no_minimizer(check: Check, method: Method, aspect: Aspect) -> None:
    hold(check, is_stationary(method.with_options(inverse=0.5), aspect, quadrature_settings()[1]))


@pytest.mark.parametrize("setting", CONTROLS)
@pytest.mark.parametrize(("method", "aspect"), ANY_STEP)
def test_the_gradient_grows_like_delta(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, gradient_grows(method, aspect, setting))
    X = family(setting, aspect, 0.1)
    assert by_theta(at(aspect.of(method), setting, aspect, X, *PAIRS[0]), X).abs().max() > 100 * setting.tolerance


@pytest.mark.parametrize(("method", "aspect"), STOPPED)
def test_the_gradient_is_that_of_the_left_side(check: Check, method: Method, aspect: Aspect) -> None:
    hold(check, is_semigradient(method, aspect, quadrature_settings()[1]))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("method", "aspect"), REGRESSIONS)
def test_regressions_have_the_conditional_variance_as_minimum(
    check: Check, method: Method, aspect: Aspect, name: str
) -> None:
    setting = quadrature_settings()[SCHEDULES.index(name)]
    for s, t in PAIRS:
        minimum = conditional_variance(setting.I, aspect.regresses_at(s, t))
        hold(check, [has_its_minimum(method, aspect, setting, minimum, s, t)])


@pytest.mark.parametrize("setting", CONTROLS)
@pytest.mark.parametrize(("method", "aspect"), REGRESSIONS)
def test_the_excess_grows_like_delta_squared(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, loss_grows(method, aspect, setting))


BATCHES, SIZE, STANDARD_ERRORS = 24, 500, 7.0
AS_CALLED = [
    name
    for name, method in METHODS.items()
    if name not in OTHER_MINIMIZER and any(not a.exact and a.order is None for a in aspects(method))
]


def deviation(method: Method, problem: Problem, delta: float, generator: torch.Generator) -> Tensor:
    """The mean gradient of whole calls in standard errors, by batch means."""
    I = problem.interpolant
    assert I is not None
    truth = true_map(problem.X or problem.b.flow_map(), problem.b, method.joint)
    X = family_through(truth, torch.Size([2]), delta)
    gradients = []
    for _ in range(BATCHES):
        x0 = problem.sample_base(SIZE, generator=generator, dtype=torch.float64)
        x1 = problem.sample_data(SIZE, generator=generator, dtype=torch.float64)
        gradients.append(by_theta(method(X, I, x0, x1, teacher=None, generator=generator).loss, X))
    g = torch.stack(gradients)
    return g.mean(0) / (g.std(0) / math.sqrt(BATCHES))


@pytest.mark.parametrize("name", AS_CALLED)
def test_whole_calls_within_their_standard_errors(check: Check, generator: torch.Generator, name: str) -> None:
    # Student's t with 23 degrees of freedom exceeds 7 with probability 4e-7: below 1e-4 for all rows and directions.
    method, problem = METHODS[name], gaussian(interpolants.trigonometric())
    check.at_most(float(deviation(method, problem, 0.0, generator).abs().max()), STANDARD_ERRORS)
    assert deviation(method, problem, 0.3, generator).abs().max() > 2 * STANDARD_ERRORS


def test_flow_matching_on_a_planar_mixture(check: Check, generator: torch.Generator) -> None:
    problem = mixture(interpolants.trigonometric())
    check.at_most(float(deviation(METHODS["fm"], problem, 0.0, generator).abs().max()), STANDARD_ERRORS)

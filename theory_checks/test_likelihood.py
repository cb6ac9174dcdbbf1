r"""Likelihood: the augmented equation gives log rho_t.

$$\log\rho_t(x)=\log\rho_0(X_{t,0}(x))-\int_0^t(\nabla\!\cdot b_\tau)(X_{t,\tau}(x))\,d\tau$$

Hypotheses: $b$ is the field of the interpolant, $\rho_0$ the standard normal law (so the schedule reaches its ends).
Ground truth: the closed-form densities of a Gaussian and of a mixture.

Source: 2505.18825 Lemma A.1 (23); 1806.07366.
"""

import pytest
import torch

from flowops import Interpolant, interpolants
from theory_checks.batches import inner_times
from theory_checks.cases import ENOUGH, SINGLE, SOLVED, draw, exact_map, gaussian, mixture
from theory_checks.verdicts import Check


def starts_at_the_base(I: Interpolant) -> bool:
    """Whether the law at time 0 is the standard normal one."""
    return abs(float(I.alpha(0.0)) - 1) + abs(float(I.beta(0.0))) < 1e-6


def test_closed_form_densities(interpolant: Interpolant, check: Check) -> None:
    if not starts_at_the_base(interpolant):
        pytest.skip("this schedule does not start at the standard normal law")
    t = inner_times(seed=0)
    for problem in (gaussian(interpolant), mixture(interpolant)):
        x = draw(problem, t, len(t), seed=1)
        exact = problem.log_prob(t, x)
        check.vanishes(problem.b.log_prob(x, t, rtol=ENOUGH, atol=ENOUGH) - exact, SOLVED, scale=1 + exact.abs())


def test_change_of_variables_by_the_map(check: Check) -> None:
    problem = gaussian(interpolants.trigonometric())
    x = draw(problem, 0.9, 4, seed=1)
    base = exact_map(problem)(0.9, 0.0, x)
    normal = torch.distributions.Normal(torch.zeros_like(base), 1.0).log_prob(base).sum(1)
    check.vanishes(normal + exact_map(problem).log_abs_det(0.9, 0.0, x) - problem.b.log_prob(x, 0.9), SOLVED)


def test_single_precision(check: Check) -> None:
    problem = mixture(interpolants.linear())
    x = draw(problem, 0.8, 4, seed=2)
    check.vanishes(problem.b.log_prob(x.float(), 0.8) - problem.log_prob(0.8, x), SINGLE, scale=10.0)


def test_negative_control(check: Check) -> None:
    problem = gaussian(interpolants.linear())
    x = draw(problem, 0.9, 4, seed=3)
    truth = problem.log_prob(0.9, x)
    wrong, half = (
        ((1 + delta) * problem.b).log_prob(x, 0.9, rtol=ENOUGH, atol=ENOUGH) - truth for delta in (1e-3, 5e-4)
    )
    check.sees(wrong, half, SOLVED)

r"""Likelihood: the augmented equation gives log rho_t.

$$\log\rho_t(x)=\log\rho_0(X_{t,0}(x))-\int_0^t(\nabla\!\cdot b_\tau)(X_{t,\tau}(x))\,d\tau$$

Hypotheses: $b$ is the field of the interpolant, $\rho_0$ the standard normal law (so the schedule reaches its ends).
Ground truth: the closed-form densities of a Gaussian and of a mixture.

Source: 2505.18825 Lemma A.1 (23); 1806.07366.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowops import Interpolant, interpolants
from theory_checks.cases import SINGLE, SOLVED, draw, exact_map, gaussian, mixture
from theory_checks.strategies import few
from theory_checks.verdicts import Check


def starts_at_the_base(I: Interpolant) -> bool:
    """Whether the law at time 0 is the standard normal one."""
    return abs(float(I.alpha(0.0)) - 1) + abs(float(I.beta(0.0))) < 1e-6


@few
@given(t=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_closed_form_densities(interpolant: Interpolant, check: Check, t: float, seed: int) -> None:
    if not starts_at_the_base(interpolant):
        pytest.skip("this schedule does not start at the standard normal law")
    for problem in (gaussian(interpolant), mixture(interpolant)):
        x = draw(problem, t, 3, seed=seed)
        exact = problem.log_prob(t, x)
        check.vanishes(problem.b.log_prob(x, t) - exact, SOLVED, scale=1 + exact.abs())


def test_change_of_variables_by_the_map(check: Check) -> None:
    problem = gaussian(interpolants.trigonometric())
    x = draw(problem, 0.9, 4, seed=1)
    base = exact_map(problem)(0.9, 0.0, x)
    normal = torch.distributions.Normal(torch.zeros_like(base), 1.0).log_prob(base).sum(1)
    check.vanishes(normal + exact_map(problem).log_abs_det(0.9, 0.0, x) - problem.b.log_prob(x, 0.9), SOLVED)


def test_single_precision(check: Check) -> None:
    problem = mixture(interpolants.linear())
    x = draw(problem, 0.8, 4, seed=2)
    check.vanishes(problem.b.log_prob(x.float(), 0.8) - problem.b.log_prob(x, 0.8), SINGLE, scale=10.0)


def test_negative_control(check: Check) -> None:
    problem = gaussian(interpolants.linear())
    x = draw(problem, 0.9, 4, seed=3)
    truth = problem.b.log_prob(x, 0.9)
    wrong, half = (((1 + delta) * problem.b).log_prob(x, 0.9) - truth for delta in (1e-3, 5e-4))
    check.sees(wrong, half, SOLVED)

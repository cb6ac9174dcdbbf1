r"""Conversions: velocity, score, denoiser and noise determine each other.

$$x=\alpha\,\mathbb E[x_0|x]+\beta\,\mathbb E[x_1|x],\quad b=\dot\alpha\,\mathbb E[x_0|x]+\dot\beta\,\mathbb
E[x_1|x],\quad
  \nabla\log\rho_t(x)=-\mathbb E[x_0|x]/\alpha$$

Hypotheses: two terms, Gaussian base. Ground truth: the score by automatic differentiation of a closed-form mixture
density, the conditional means by a quadrature over the noise, which resolves a posterior however narrow it is. What
rounding of state and field makes of a conversion is known, and allowed.

Source: 2303.08797; Tweedie's formula.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowops import Interpolant, problems
from flowops.checks.interpolant import magnified
from flowops.checks.posterior import conditional_means
from theory_checks.cases import CLOSED_FORM, SINGLE, draw, mixture
from theory_checks.verdicts import Check

QUANTITIES = ("velocity", "score", "denoiser", "noise")
WEIGHTS, MEANS, VARIANCES = (0.3, 0.7), (-1.5, 1.0), (0.2, 0.4)

pytestmark = pytest.mark.two_terms


def prior(x1: Tensor) -> Tensor:
    """The density of the data, up to a factor."""
    parts = zip(WEIGHTS, MEANS, VARIANCES, strict=True)
    return sum((w * torch.exp(-((x1 - m) ** 2) / (2 * v)) / v**0.5 for w, m, v in parts), torch.zeros_like(x1))


def rounded(I: Interpolant, t: float, x: Tensor, b: Tensor, target: str) -> Tensor:
    """What rounding makes of a conversion, in units of the tolerance: large where alpha or beta are small."""
    return (256 * torch.finfo(x.dtype).eps / CLOSED_FORM * magnified(I, torch.full_like(x[:, 0], t), x, b, target))[
        :, None
    ]


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_velocity_gives_the_conditional_means(interpolant: Interpolant, check: Check, t: float) -> None:
    problem = problems.gaussian_mixture(WEIGHTS, [[m] for m in MEANS], VARIANCES, interpolant)
    x = draw(problem, t, 6, seed=0)
    noise, denoiser = conditional_means(interpolant, torch.full_like(x[:, 0], t), x[:, 0], prior, 8.0)
    b = problem.b(t, x)
    for target, truth in (("noise", noise[:, None]), ("denoiser", denoiser[:, None])):
        value = interpolant.convert(t, x, b, "velocity", target)
        check.vanishes(value - truth, CLOSED_FORM, scale=1 + truth.abs() + rounded(interpolant, t, x, b, target))


@given(t=st.floats(0.02, 0.98), seed=st.integers(0, 99))
def test_velocity_gives_the_score(interpolant: Interpolant, check: Check, t: float, seed: int) -> None:
    problem = mixture(interpolant)
    x = draw(problem, t, 3, seed=seed).requires_grad_()
    score = torch.autograd.grad(problem.log_prob(t, x).sum(), x)[0]
    x, b = x.detach(), problem.b(t, x.detach())
    value = interpolant.convert(t, x, b, "velocity", "score")
    check.vanishes(value - score, CLOSED_FORM, scale=1 + score.abs() + rounded(interpolant, t, x, b, "score"))


@given(t=st.floats(0.05, 0.95), source=st.sampled_from(QUANTITIES), target=st.sampled_from(QUANTITIES))
def test_conversions_are_consistent(interpolant: Interpolant, check: Check, t: float, source: str, target: str) -> None:
    x, v = (torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).unbind()
    known = interpolant.convert(t, x, v, "velocity", source)
    there = interpolant.convert(t, x, known, source, target)
    direct = interpolant.convert(t, x, v, "velocity", target)
    check.vanishes(there - direct, CLOSED_FORM, scale=1 + known.abs().max() + direct.abs())


def test_single_precision(interpolant: Interpolant, check: Check) -> None:
    problem = mixture(interpolant)
    x = draw(problem, 0.5, 4, seed=2)
    b = problem.b(0.5, x)
    double = interpolant.convert(0.5, x, b, "velocity", "denoiser")
    single = interpolant.convert(0.5, x.float(), b.float(), "velocity", "denoiser")
    check.vanishes(single - double, SINGLE, scale=1 + x.abs().max() + b.abs().max())


def test_negative_control(interpolant: Interpolant, check: Check) -> None:
    problem = mixture(interpolant)
    x = draw(problem, 0.5, 4, seed=3).requires_grad_()
    score = torch.autograd.grad(problem.log_prob(0.5, x).sum(), x)[0]
    x = x.detach()
    wrong, half = (
        interpolant.convert(0.5, x, (1 + d) * problem.b(0.5, x), "velocity", "score") - score for d in (1e-3, 5e-4)
    )
    check.sees(wrong, half, CLOSED_FORM)

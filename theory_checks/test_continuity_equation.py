r"""Continuity equation: d/dt rho_t + div(b_t rho_t) = 0, weakly and pointwise.

Weakly: $\frac{d}{dt}\int\varphi\,\rho_t=\int\nabla\varphi\cdot b_t\,\rho_t$, the integrals by Gauss-Legendre panels and
the derivative by eighth-order central differences; pointwise:
$\partial_t\log\rho_t+\nabla\!\cdot b_t+b_t\cdot\nabla \log\rho_t=0$ by automatic differentiation of the closed-form
density of a mixture.

Hypotheses: $\varphi$ once continuously differentiable with
$\mathbb E|\varphi(I_t)|+\mathbb E|\nabla\varphi(I_t)||\dot I_t|<\infty$ locally uniformly in $t$: compact support is
enough, and so is at most quadratic growth where $x_0$ and $x_1$ have second moments, as for the three functions here.
Pointwise, $\rho_t>0$ once continuously differentiable in $(t,x)$ and $b_t$ in $x$, at times inside $(0,1)$, where the
base has smoothed the law.

Source: 2505.18825 Lemma A.1 (23); 2303.08797.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowops import Interpolant, VelocityField, problems
from theory_checks.cases import CLOSED_FORM, SOLVED, draw, mixture
from theory_checks.quadrature import panels
from theory_checks.verdicts import Check

FUNCTIONS = [
    (torch.sin, torch.cos),
    (lambda x: x**2, lambda x: 2 * x),
    (torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
]
CENTRAL = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))


def weak_defects(I: Interpolant, b: VelocityField, problem: problems.Problem, t: float) -> torch.Tensor:
    """Left minus right side for every test function, over the size of the right side."""
    radius = 8 * float(torch.hypot(I.alpha(t), 3 * I.beta(t)) + I.gamma(t))
    x, w = panels(radius)
    density = {k: w * problem.log_prob(t + 1e-3 * k, x[:, None]).exp() for k in range(-4, 5)}
    velocity = b(t, x[:, None])[:, 0]
    defects = []
    for phi, slope in FUNCTIONS:
        left = sum(c * ((density[k] - density[-k]) * phi(x)).sum() for k, c in CENTRAL) / 1e-3
        right = (density[0] * slope(x) * velocity).sum()
        defects.append((left - right) / (1 + (density[0] * (slope(x) * velocity).abs()).sum()))
    return torch.stack(defects)


def line_mixture(I: Interpolant) -> problems.Problem:
    """Two modes on the real line."""
    return problems.gaussian_mixture([0.3, 0.7], [[-1.5], [1.0]], [0.2, 0.4], I)


@pytest.mark.parametrize("t", [0.1, 0.4, 0.85])
def test_weak_form(interpolant: Interpolant, check: Check, t: float) -> None:
    problem = line_mixture(interpolant)
    check.vanishes(weak_defects(interpolant, problem.b, problem, t), SOLVED)


@given(t=st.floats(0.02, 0.98), seed=st.integers(0, 99))
def test_pointwise(interpolant: Interpolant, check: Check, t: float, seed: int) -> None:
    problem = mixture(interpolant)
    x = draw(problem, t, 3, seed=seed).requires_grad_()
    time = torch.full((3,), t, dtype=torch.float64, requires_grad=True)
    dt, score = torch.autograd.grad(problem.log_prob(time, x).sum(), (time, x))
    b = problem.b(t, x.detach())
    divergence = problem.b.divergence(t, x.detach())
    check.vanishes(dt + divergence + (b * score).sum(1), CLOSED_FORM, scale=1 + divergence.abs() + dt.abs())


def test_negative_control(interpolant: Interpolant, check: Check) -> None:
    problem = line_mixture(interpolant)
    wrong, half = (weak_defects(interpolant, (1 + d) * problem.b, problem, 0.4) for d in (1e-2, 5e-3))
    check.sees(wrong, half, SOLVED)

r"""Velocity as a conditional mean: b_t(x) = E[dI_t/dt | I_t = x].

Equivalently $\mathbb E[(\dot I_t-b_t(I_t))\,\psi(I_t)]=0$ for every $\psi$: the Monte-Carlo regression of $\dot
I_t-b_t(I_t)$ on features of $I_t$ has no coefficient beyond its standard error. Largest of the standardized moments
over twelve features, 50,000 draws, bound 6: false-alarm rate below $3\cdot10^{-8}$ per case, on a fixed seed.

Source: 2505.18825 (2); 2303.08797.
"""

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, VelocityField, problems
from theory_checks.cases import data_problems
from theory_checks.verdicts import Check

DRAWS = 50_000
BOUND = 6.0


def standardized_moments(problem: problems.Problem, b: VelocityField, I: Interpolant, t: float) -> Tensor:
    r"""Mean over standard error of $(\dot I_t-b_t(I_t))\psi(I_t)$ for every coordinate and feature."""
    generator = torch.Generator().manual_seed(5)
    x0 = problem.sample_base(DRAWS, generator=generator, dtype=torch.float64)
    x1 = problem.sample_data(DRAWS, generator=generator, dtype=torch.float64)
    z = torch.randn(x0.shape, generator=generator, dtype=x0.dtype) if I.has_latent else None
    x = I(t, x0, x1, z)
    noise = (I.velocity(t, x0, x1, z) - b(t, x).detach()).reshape(DRAWS, -1)
    unit = ((x - x.mean(0)) / x.std(0)).reshape(DRAWS, -1)
    p, q = unit[:, :1], unit[:, 1:2]
    features = torch.cat([torch.ones_like(p), p, q, p * q, p**2 - q**2, p.sin(), (2 * q).cos(), (p + q).tanh()], 1)
    products = noise[:, :, None] * features[:, None, :]
    return products.mean(0) / (products.std(0) / DRAWS**0.5)


@pytest.mark.parametrize("t", [0.15, 0.8])
def test_no_feature_explains_the_rest(interpolant: Interpolant, check: Check, t: float) -> None:
    for problem in data_problems(interpolant).values():
        worst = standardized_moments(problem, problem.b, interpolant, t).abs().max()
        check.at_most(float(worst), BOUND, where=f"for {problem.name} at t = {t}")


def test_negative_control(interpolant: Interpolant) -> None:
    for problem in data_problems(interpolant).values():
        wrong = 1.5 * problem.b
        assert standardized_moments(problem, wrong, interpolant, 0.4).abs().max() > BOUND, problem.name

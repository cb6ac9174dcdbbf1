r"""Velocity as a conditional mean: b_t(x) = E[dI_t/dt | I_t = x].

Equivalently $\mathbb E[(\dot I_t-b_t(I_t))\,\psi(I_t)]=0$ for every $\psi$: eight features here, in every coordinate,
relative to $\mathbb E|b_t\psi|$. The expectation is a quadrature over the data, whose law is written down by hand, and
over the noise $\sigma_tn=\alpha_tx_0+\gamma_tz$, given which $\dot I_t$ has the mean
$\dot\beta_tx_1+(\alpha_t\dot\alpha_t+\gamma_t\dot\gamma_t)\,n/\sigma_t$: no draw, so that a field wrong by a per cent
is seen. Times are those at which the data weigh half, and twice, as much as the noise. That the samples of a problem
have that law is checked by draws: the largest of the sixteen standardized moments of 20,000 draws, bound 6:
false-alarm rate below $4\cdot10^{-8}$ per case, on a fixed seed.

Hypotheses: independent $x_0\sim N(0,I)$, $x_1$ and $z$; $\mathbb E|\dot I_t|<\infty$.

Source: 2505.18825 (2); 2303.08797.
"""

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, VelocityField, problems
from theory_checks.cases import data_problems
from theory_checks.data_laws import data_nodes, spread, time_at
from theory_checks.quadrature import standard_normal
from theory_checks.verdicts import Check

ORDERS = {"gaussian": (24, 14), "mixture": (16, 10), "checkerboard": (10, 6), "empirical": (24, 1)}  # noise, data
RESOLVED = 2e-4  # by the quadrature
DRAWS = 20_000
BOUND = 6.0


def features(x: Tensor, w: Tensor) -> Tensor:
    """Eight functions of the state, by its first two standardized coordinates."""
    mean = w @ x
    p, q = ((x - mean) / (w @ (x - mean) ** 2).sqrt()).reshape(len(x), -1)[:, :2].split(1, 1)
    return torch.cat([torch.ones_like(p), p, q, p * q, p**2 - q**2, p.sin(), (2 * q).cos(), (p + q).tanh()], 1)


def nodes(name: str, I: Interpolant, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """States, the mean of their velocities given noise and data, and weights."""
    noise, data = ORDERS[name]
    (n, wn), (x1, w1) = standard_normal(noise, 2), data_nodes(name, data)
    product = (w1[:, None] * wn).flatten()
    kept = product > 1e-9
    x1, n, w = x1.repeat_interleave(len(n), 0)[kept], n.repeat(len(x1), 1)[kept], product[kept]
    time, sigma = torch.tensor(t, dtype=torch.float64), spread(I, t)
    rate = (I.alpha(time) * I.alpha_dot(time) + I.gamma(time) * I.gamma_dot(time)) / sigma
    return I.beta(time) * x1 + sigma * n, I.beta_dot(time) * x1 + rate * n, w / w.sum()


def defects(name: str, b: VelocityField, I: Interpolant, t: float) -> Tensor:
    r"""$\mathbb E(\dot I_t-b_t(I_t))\psi(I_t)$ over $\mathbb E|b_t(I_t)\psi(I_t)|$ for every coordinate and feature."""
    x, velocity, w = nodes(name, I, t)
    return unexplained(x, velocity, w, b(t, x).detach())


def unexplained(x: Tensor, velocity: Tensor, w: Tensor, field: Tensor) -> Tensor:
    """The defects of a field of which the values at the nodes are known."""
    psi = features(x, w)
    size = torch.einsum("n,ni,nf->if", w, field.abs(), psi.abs())
    return torch.einsum("n,ni,nf->if", w, velocity - field, psi) / size


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_no_feature_explains_the_rest(interpolant: Interpolant, check: Check, ratio: float) -> None:
    t = time_at(interpolant, ratio)
    for name, problem in data_problems(interpolant).items():
        check.vanishes(defects(name, problem.b, interpolant, t), RESOLVED, where=f"for {name} at t = {t:.3g}")


def standardized_moments(problem: problems.Problem, I: Interpolant, t: float) -> Tensor:
    r"""Mean over standard error of $(\dot I_t-b_t(I_t))\psi(I_t)$ for every coordinate and feature."""
    generator = torch.Generator().manual_seed(5)
    x0 = problem.sample_base(DRAWS, generator=generator, dtype=torch.float64)
    x1 = problem.sample_data(DRAWS, generator=generator, dtype=torch.float64)
    z = torch.randn(x0.shape, generator=generator, dtype=x0.dtype) if I.has_latent else None
    x = I(t, x0, x1, z)
    noise = (I.velocity(t, x0, x1, z) - problem.b(t, x).detach()).reshape(DRAWS, -1)
    products = noise[:, :, None] * features(x, torch.full_like(x[:, 0], 1 / DRAWS))[:, None, :]
    return products.mean(0) / (products.std(0) / DRAWS**0.5)


def test_samples_have_that_velocity(interpolant: Interpolant, check: Check) -> None:
    t = time_at(interpolant, 1.0)
    for name, problem in data_problems(interpolant).items():
        worst = standardized_moments(problem, interpolant, t).abs().max()
        check.at_most(float(worst), BOUND, where=f"for {name} at t = {t:.3g}")


def test_negative_control(interpolant: Interpolant, check: Check) -> None:
    """Wrong by two per cent and by one, in size, and by a bounded function of the state."""
    t = time_at(interpolant, 1.0)
    for name, problem in data_problems(interpolant).items():
        at_nodes = nodes(name, interpolant, t)
        field = problem.b(t, at_nodes[0]).detach()
        scaled = [unexplained(*at_nodes, (1 + d) * field) for d in (0.02, 0.01)]
        check.sees(scaled[0], scaled[1], RESOLVED)
        bent = field.std() * torch.cos(2 * at_nodes[0])
        moved = [unexplained(*at_nodes, field + d * bent) for d in (0.02, 0.01)]
        check.sees(moved[0], moved[1], RESOLVED)

"""Checkerboard: the field against quadrature over the squares, the density against its integral."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flowops import problems
from flowops._derivatives import value_and_jvp
from flowops.interpolants import Interpolant, linear, trigonometric

BRIDGE = Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))")


def board(squares, nodes=60):
    """Gauss-Legendre points and weights of the uniform law on the dark squares, a tensor rule per square."""
    points, weights = (torch.from_numpy(v) / squares for v in np.polynomial.legendre.leggauss(nodes))
    cells = [(i, j) for i in range(squares) for j in range(squares) if (i + j) % 2 == 0]
    centers = (2 * torch.tensor(cells, dtype=torch.float64) + 1) / squares - 1
    offsets = torch.cartesian_prod(points, points)
    mass = torch.cartesian_prod(weights, weights).prod(1).repeat(len(cells)) / 2
    return (centers[:, None] + offsets).reshape(-1, 2), mass


@pytest.mark.parametrize("squares", [2, 4])
@pytest.mark.parametrize("t", [0.0, 0.02, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("interpolant", [linear(), trigonometric()], ids=lambda i: i.name)
def test_the_field_is_an_integral_over_the_squares(squares, t, interpolant, generator):
    problem = problems.checkerboard(interpolant, squares)
    x1, mass = board(squares)
    x = problem.sample(t, 5, generator=generator, dtype=torch.float64)
    x[0] += 4.0
    time = torch.tensor(t, dtype=torch.float64)
    a, b = interpolant.alpha(time), interpolant.beta(time)
    x0 = (x[:, None] - b * x1) / a
    logits = mass.log() - 0.5 * x0.square().sum(-1)
    r = torch.softmax(logits, 1)
    velocity = interpolant.alpha_dot(time) * x0 + interpolant.beta_dot(time) * x1
    torch.testing.assert_close(problem.b(t, x), (r[..., None] * velocity).sum(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(problem.b.denoiser(t, x), r @ x1, rtol=1e-9, atol=1e-9)
    expected = torch.logsumexp(logits, 1) - math.log(2 * math.pi) - 2 * a.log()
    torch.testing.assert_close(problem.log_prob(t, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("interpolant", [linear(), BRIDGE], ids=lambda i: i.name)
def test_the_score_is_the_gradient_of_the_log_density(interpolant, generator):
    problem = problems.checkerboard(interpolant)
    for t in (0.1, 0.7, 0.99):
        x = problem.sample(t, 20, generator=generator, dtype=torch.float64).requires_grad_()
        (expected,) = torch.autograd.grad(problem.log_prob(t, x).sum(), x)
        torch.testing.assert_close(problem.score(t, x), expected, rtol=1e-6, atol=1e-6)


def test_the_density_satisfies_the_continuity_equation_with_a_latent(generator):
    r"""$\partial_t\log\rho+\nabla\!\cdot b+b\cdot\nabla\log\rho=0$ ties the field to the density, latent included."""
    problem = problems.checkerboard(BRIDGE)
    t = torch.linspace(0.15, 0.9, 8, dtype=torch.float64)
    x = problem.sample(t, 8, generator=generator, dtype=torch.float64)
    _, rate = value_and_jvp(lambda tau: problem.log_prob(tau, x), (t,), (torch.ones_like(t),))
    total = rate + problem.b.divergence(t, x) + (problem.b(t, x) * problem.score(t, x)).sum(1)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-7)


def test_the_data_are_uniform_on_the_dark_squares(generator):
    """Counts of 8 squares and their halves within 5 standard errors: a false alarm in fewer than one of 10^4 runs."""
    n = 16_000
    problem = problems.checkerboard(linear())
    x = problem.sample_data(n, generator=generator, dtype=torch.float64)
    cell = ((x + 1) * 2).floor().long()
    assert ((cell.sum(1) % 2 == 0) & (cell >= 0).all(1) & (cell < 4).all(1)).all()
    for share, counts in (
        (1 / 8, torch.bincount(cell[:, 0] * 4 + cell[:, 1], minlength=16).reshape(4, 4)[[0, 0, 1, 3], [0, 2, 1, 3]]),
        (1 / 2, (((x + 1) * 2 - cell) < 0.5).sum(0)),
    ):
        assert ((counts - n * share).abs() < 5 * (n * share * (1 - share)) ** 0.5).all()
    torch.testing.assert_close(problem.log_prob(1.0, x), torch.full((n,), -math.log(2), dtype=x.dtype))


def test_the_field_vanishes_in_the_limit_only_through_the_signal():
    """Inside a square and close to t = 1 the noise has mean zero, and b is the derivative of beta times x."""
    problem = problems.checkerboard(linear())
    x = torch.tensor([[-0.75, -0.7], [0.2, 0.3], [0.6, 0.9]], dtype=torch.float64)
    torch.testing.assert_close(problem.b(1 - 1e-6, x), x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(problem.b(1.0, x), x)


@pytest.mark.parametrize(
    ("squares", "wanted"),
    [
        (3, "an even number of squares per side, at least 2"),
        (0, "a whole number of at least 2"),
        (-2, "a whole number of at least 2"),
        (4.0, "a whole number of at least 2"),
        (True, "a whole number of at least 2"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_board_that_is_none_is_refused(squares, wanted):
    with pytest.raises(ValueError, match=f"`squares` must be {wanted}, got {squares}"):
        problems.checkerboard(linear(), squares)

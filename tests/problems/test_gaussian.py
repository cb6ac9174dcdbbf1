"""Standard normal to Gaussian: field, map, score and density against routes that share no formula with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from flowops import problems
from flowops.interpolants import Interpolant, linear, trigonometric, variance_preserving

BRIDGE = Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))")
MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.3]], dtype=torch.float64)


def states(problem, t, n, generator, dtype=torch.float64):
    return problem.sample(t, n, generator=generator, dtype=dtype)


INTERPOLANTS = [linear(), trigonometric(), variance_preserving(), BRIDGE]


FORMS = [(i, COVARIANCE) for i in INTERPOLANTS] + [(linear(), [0.5, 1.0, 2.0]), (linear(), 0.7)]


@pytest.mark.parametrize(("interpolant", "covariance"), FORMS)
def test_the_map_is_the_flow_of_the_field(interpolant, covariance, generator, check_flow, check_derivatives):
    problem = problems.gaussian(MEAN, covariance, interpolant)
    x = states(problem, 0.5, 4, generator)
    check_flow(problem, x)
    check_derivatives(problem.X, x)


@pytest.mark.parametrize("interpolant", [trigonometric(), BRIDGE], ids=lambda i: i.name)
def test_the_field_is_the_regression_of_the_velocity(interpolant, generator):
    """Both are linear in independent normal draws, so the conditional mean is the least-squares one."""
    t, n = torch.tensor(0.4, dtype=torch.float64), 400
    problem = problems.gaussian(MEAN, COVARIANCE, interpolant)
    draws = torch.randn(3 * n, 9, generator=generator, dtype=torch.float64)
    draws -= draws.mean(0)
    # Draws whose empirical covariance is exactly the identity: the regression then has no sampling error.
    draws = draws @ torch.linalg.inv(torch.linalg.cholesky(draws.mT @ draws / len(draws))).mT
    x0, z = draws[:, :3], draws[:, 3:6]
    x1 = MEAN + draws[:, 6:] @ torch.linalg.cholesky(COVARIANCE).mT
    latent = (z,) if interpolant.has_latent else ()
    It, velocity = interpolant(t, x0, x1, *latent), interpolant.velocity(t, x0, x1, *latent)
    design = torch.cat([It, torch.ones(len(It), 1, dtype=It.dtype)], 1)
    fitted = design @ torch.linalg.lstsq(design, velocity).solution
    torch.testing.assert_close(problem.b(t, It), fitted)


def test_density_score_and_moments_agree_with_torch_distributions(schedule, generator):
    problem = problems.gaussian(MEAN, COVARIANCE, schedule)
    for t in (0.2, 0.7):
        x = states(problem, t, 5, generator).requires_grad_()
        mean, covariance = problem.b.mean_and_covariance(torch.tensor(t, dtype=torch.float64))
        reference = MultivariateNormal(mean, covariance).log_prob(x)
        torch.testing.assert_close(problem.log_prob(t, x), reference, rtol=1e-9, atol=1e-9)
        (expected,) = torch.autograd.grad(reference.sum(), x)
        torch.testing.assert_close(problem.score(t, x), expected, rtol=1e-8, atol=1e-8)


def test_mean_and_covariance_are_those_of_the_interpolant():
    problem = problems.gaussian(MEAN.reshape(1, 3), COVARIANCE, BRIDGE)
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    mean, covariance = problem.b.mean_and_covariance(t)
    torch.testing.assert_close(mean, torch.stack([0 * MEAN, 0.25 * MEAN, MEAN])[:, None])
    middle = (0.75**2 + 2 * 0.25 * 0.75) * torch.eye(3, dtype=torch.float64) + 0.25**2 * COVARIANCE
    torch.testing.assert_close(covariance, torch.stack([torch.eye(3, dtype=torch.float64), middle, COVARIANCE]))
    assert problem.b.mean_and_covariance(0.5)[1].shape == (3, 3)


def test_the_map_carries_the_law_and_shapes_do_not_matter(generator):
    """Push-forward of normal draws whose empirical moments are exact, through the map from 0 to 1."""
    image = problems.gaussian(MEAN.reshape(3, 1, 1), COVARIANCE, trigonometric())
    draws = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    draws -= draws.mean(0)
    draws = draws @ torch.linalg.inv(torch.linalg.cholesky(draws.mT @ draws / len(draws))).mT
    moved = image.X(0.0, 1.0, draws.reshape(-1, 3, 1, 1)).reshape(-1, 3)
    torch.testing.assert_close(moved.mean(0), MEAN)
    torch.testing.assert_close(torch.from_numpy(np.cov(moved.numpy().T, bias=True)), COVARIANCE)
    scalar = problems.gaussian(1.0, 4.0, linear())
    assert scalar.event == ()
    torch.testing.assert_close(scalar.X(0.0, 1.0, torch.tensor([0.0, 1.0])), torch.tensor([1.0, 3.0]))


def test_samples_have_the_moments_of_the_law(generator):
    """With 40,000 draws, five standard errors: a false alarm in fewer than one of 10^5 runs (12 comparisons)."""
    n = 40_000
    x = problems.gaussian(MEAN, COVARIANCE, linear()).sample_data(n, generator=generator, dtype=torch.float64)
    assert ((x.mean(0) - MEAN).abs() < 5 * (COVARIANCE.diagonal() / n).sqrt()).all()
    d = COVARIANCE.diagonal()
    errors = ((d[:, None] * d + COVARIANCE**2) / n).sqrt()
    assert ((x.mT.cov() - COVARIANCE).abs() < 5 * errors).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_map_and_its_derivatives_are_finite_at_both_ends(schedule, dtype, generator):
    problem = problems.gaussian(MEAN, COVARIANCE, schedule)
    for s, t in ((0.0, 1.0), (1.0, 0.0), (0.5, 1.0), (1.0, 1.0), (0.0, 0.0)):
        x = states(problem, s, 3, generator, dtype)
        X = problem.X
        for value in (*X.value_and_dt(s, t, x), X.ds(s, t, x), X.material_derivative(s, t, x, x)):
            assert value.isfinite().all()
        torch.testing.assert_close(X(t, s, X(s, t, x)), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), "`covariance` must be symmetric"),
        (([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "`covariance` must be positive definite, got a smallest .* of -1"),
        (([0.0, 0.0], 0.0), "`covariance` must be positive definite"),
        (([0.0, 0.0], [[1.0, 0.0]]), r"`covariance` must be a variance or have shape \[2\] or \[2, 2\], got \[1, 2\]"),
        (([], 1.0), r"`mean` must have at least one entry, got shape \[0\]"),
        (([float("inf")], 1.0), "`mean` must be finite"),
    ],
)
def test_misfits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        problems.gaussian(arguments[0], arguments[1], linear())

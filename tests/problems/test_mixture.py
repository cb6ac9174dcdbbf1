"""Gaussian mixture: the field against integrals over the data, the derivative against forward mode."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flowops import problems
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant, linear, trigonometric, variance_preserving
from flowops.maps import SolutionOperator

BRIDGE = Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))")
WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[1.0, 1.0], [-1.5, 0.5], [0.0, -2.0]], dtype=torch.float64)
FULL = torch.tensor(
    [[[0.5, 0.2], [0.2, 0.3]], [[0.4, -0.3], [-0.3, 0.6]], [[0.2, 0.0], [0.0, 0.9]]], dtype=torch.float64
)
COVARIANCES = {
    "full": FULL,
    "diagonal": FULL.diagonal(dim1=1, dim2=2),
    "isotropic": torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    "one variance": 0.4,
}


def dense(covariances) -> torch.Tensor:
    """Any of the accepted forms as full matrices."""
    eye = torch.eye(2, dtype=torch.float64)
    given = torch.as_tensor(covariances, dtype=torch.float64)
    if given.ndim == 3:
        return given
    return torch.diag_embed(given) if given.ndim == 2 else given.expand(3)[:, None, None] * eye


def grid_and_density(covariances, count=161, width=9.0):
    """A square grid and the mixture's density on it: sums over it integrate smooth, decaying functions to rounding."""
    axis = torch.linspace(-width, width, count, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    law = torch.distributions.MultivariateNormal(MEANS, dense(covariances))
    return points, (law.log_prob(points[:, None]).exp() * WEIGHTS).sum(1), (axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("kind", COVARIANCES)
@pytest.mark.parametrize("interpolant", [trigonometric(), variance_preserving()], ids=lambda i: i.name)
def test_the_field_is_an_integral_over_the_data(kind, interpolant, generator):
    problem = problems.gaussian_mixture(WEIGHTS, MEANS, COVARIANCES[kind], interpolant)
    x1, density, cell = grid_and_density(COVARIANCES[kind])
    for t in (0.1, 0.5, 0.8):
        x = problem.sample(t, 4, generator=generator, dtype=torch.float64)
        time = torch.tensor(t, dtype=torch.float64)
        a, b = interpolant.alpha(time), interpolant.beta(time)
        x0 = (x[:, None] - b * x1) / a
        weight = density * torch.exp(-0.5 * x0.square().sum(-1)) / (2 * math.pi * a**2)
        velocity = interpolant.alpha_dot(time) * x0 + interpolant.beta_dot(time) * x1
        total = weight.sum(1)
        torch.testing.assert_close(problem.b(t, x), (weight[..., None] * velocity).sum(1) / total[:, None])
        torch.testing.assert_close(problem.b.denoiser(t, x), weight @ x1 / total[:, None])
        torch.testing.assert_close(problem.log_prob(t, x), (total * cell).log())


def test_a_latent_enters_as_an_integral_over_itself():
    """One dimension, the integral over data and latent; the base sample is what remains of x."""
    weights, means, variances = torch.tensor([0.4, 0.6]), torch.tensor([-1.0, 1.5]), torch.tensor([0.3, 0.2])
    problem = problems.gaussian_mixture([0.4, 0.6], means, variances, BRIDGE)
    axis = torch.linspace(-9, 9, 361, dtype=torch.float64)
    x1, z = torch.meshgrid(axis, axis, indexing="ij")
    density = (weights * torch.exp(-0.5 * (axis[:, None] - means) ** 2 / variances) / variances.sqrt()).sum(1)
    for t in (0.2, 0.6):
        time = torch.tensor(t, dtype=torch.float64)
        x = torch.tensor([-2.0, 0.1, 1.0], dtype=torch.float64)
        a, b, c = BRIDGE.alpha(time), BRIDGE.beta(time), BRIDGE.gamma(time)
        x0 = (x[:, None, None] - b * x1 - c * z) / a
        weight = density[:, None] * torch.exp(-0.5 * z**2 - 0.5 * x0**2)
        velocity = BRIDGE.alpha_dot(time) * x0 + BRIDGE.beta_dot(time) * x1 + BRIDGE.gamma_dot(time) * z
        expected = (weight * velocity).sum((1, 2)) / weight.sum((1, 2))
        torch.testing.assert_close(problem.b(t, x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", COVARIANCES)
def test_every_form_of_a_covariance_is_its_full_matrix(kind, schedule, generator):
    given = problems.gaussian_mixture(WEIGHTS, MEANS, COVARIANCES[kind], schedule)
    # A rotation by a full turn of rounding size keeps the matrix from being recognized as diagonal.
    full = dense(COVARIANCES[kind]) + 1e-13 * torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    rotated = problems.gaussian_mixture(WEIGHTS, MEANS, full, schedule)
    assert rotated.b.rotations is not None
    t = torch.linspace(0.05, 0.95, 5, dtype=torch.float64)
    x = given.sample(t, 5, generator=generator, dtype=torch.float64)
    for f, g in ((given.b, rotated.b), (given.score, rotated.score), (given.log_prob, rotated.log_prob)):
        torch.testing.assert_close(f(t, x), g(t, x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("covariance", [[[1.0, 0.6], [0.6, 0.8]], [[1.0, 0.0], [0.0, 0.3]], [[0.4, 0.0], [0.0, 0.4]]])
def test_one_component_is_the_gaussian(covariance, schedule, generator):
    mixture = problems.gaussian_mixture([1.0], [[1.0, -2.0]], [covariance], schedule)
    single = problems.gaussian([1.0, -2.0], covariance, schedule)
    t = torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0], dtype=torch.float64)
    x = single.sample(t, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(mixture.b(t, x), single.b(t, x))
    torch.testing.assert_close(mixture.b.denoiser(t, x), single.b.denoiser(t, x), rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(mixture.score(t, x), single.score(t, x))
    torch.testing.assert_close(mixture.log_prob(t, x), single.log_prob(t, x))


@pytest.mark.parametrize("kind", COVARIANCES)
def test_the_closed_derivative_is_the_forward_mode_one(kind, schedule, generator):
    b = problems.gaussian_mixture(WEIGHTS, MEANS, COVARIANCES[kind], schedule).b
    t = torch.rand(6, generator=generator, dtype=torch.float64)
    x, u = 3 * torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
    for own, generic in zip(b.value_and_jvp(t, x, u), VelocityField.value_and_jvp(b, t, x, u), strict=True):
        torch.testing.assert_close(own, generic)
    h = 1e-6
    torch.testing.assert_close(b.jvp(t, x, u), (b(t, x + h * u) - b(t, x - h * u)) / (2 * h), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("event", [(), (3,), (2, 2, 2)])
def test_the_score_is_the_gradient_of_the_log_density_for_every_shape(event, generator):
    means = torch.randn(4, *event, generator=generator, dtype=torch.float64)
    problem = problems.gaussian_mixture(None, means, [0.1, 0.2, 0.3, 0.4], BRIDGE)
    x = problem.sample(0.6, 5, generator=generator, dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(problem.log_prob(0.6, x).sum(), x)
    torch.testing.assert_close(problem.score(0.6, x), expected)
    assert problem.event == event


def test_the_augmented_equation_finds_the_density(generator):
    problem = problems.gaussian_mixture(WEIGHTS, MEANS, FULL, trigonometric())
    x = problem.sample(1.0, 2, generator=generator, dtype=torch.float64)
    solved = problem.b.log_prob(x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(solved, problem.log_prob(1.0, x), rtol=1e-4, atol=1e-4)


def test_the_variational_equation_takes_the_closed_derivative(generator):
    problem = problems.gaussian_mixture(WEIGHTS, MEANS, 0.4, trigonometric())
    X = SolutionOperator(problem.b)
    x, u = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    h = 1e-4
    difference = (X(0.1, 0.9, x + h * u) - X(0.1, 0.9, x - h * u)) / (2 * h)
    torch.testing.assert_close(X.jvp(0.1, 0.9, x, u), difference, rtol=1e-5, atol=1e-5)


def test_narrow_components_and_far_states_stay_finite(generator):
    problem = problems.gaussian_mixture(WEIGHTS, MEANS, 1e-8, linear())
    x = 1e3 * torch.randn(50, 2, generator=generator)
    for t in (0.0, 0.5, 1 - 1e-4, 1.0):
        for value in (problem.b(t, x), problem.b.jvp(t, x, x), problem.score(t, x), problem.log_prob(t, x)):
            assert value.isfinite().all()


def test_a_component_without_weight_does_not_count(generator):
    two = problems.gaussian_mixture([0.3, 0.7], MEANS[:2], 0.4, linear())
    three = problems.gaussian_mixture([0.3, 0.7, 0.0], MEANS, 0.4, linear())
    x, u = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(three.b.value_and_jvp(0.6, x, u), two.b.value_and_jvp(0.6, x, u))
    torch.testing.assert_close(three.log_prob(0.6, x), two.log_prob(0.6, x))


@pytest.mark.parametrize("kind", COVARIANCES)
def test_samples_have_the_moments_of_the_law(kind, generator):
    """With 40,000 draws, five standard errors: a false alarm in fewer than one of 10^5 runs (6 comparisons)."""
    n = 40_000
    x = problems.gaussian_mixture(WEIGHTS, MEANS, COVARIANCES[kind], linear()).sample_data(
        n, generator=generator, dtype=torch.float64
    )
    points, density, cell = grid_and_density(COVARIANCES[kind])
    for f in (lambda y: y, lambda y: y[:, :1] * y):
        mean, square = ((density[:, None] * g).sum(0) * cell for g in (f(points), f(points) ** 2))
        assert ((f(x).mean(0) - mean).abs() < 5 * ((square - mean**2) / n).sqrt()).all()


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ([0.5, 0.6, 0.1], MEANS, 1.0, "`weights` must sum to 1, got 1.2"),
        ([1.5, -0.5, 0.0], MEANS, 1.0, "`weights` must not be negative, got a smallest entry of -0.5"),
        ([0.5, 0.5], MEANS, 1.0, r"`weights` must have shape \[3\], one per component, got \[2\]"),
        (None, 1.0, 1.0, r"`means` must have shape \[K, \*event\]"),
        (None, np.zeros((0, 2)), 1.0, r"`means` must have shape \[K, \*event\]"),
        (None, MEANS, np.ones((3, 3)), r"`covariances` must be a variance or have shape \[3\], \[3, 2\]"),
        (None, MEANS, FULL + torch.tensor([[0.0, 0.1], [0.0, 0.0]]), "`covariances` must be symmetric"),
        (None, MEANS, [1.0, 1.0, -1.0], "`covariances` must be positive definite, got a smallest eigenvalue of -1"),
        (None, MEANS, [1.0, 1.0, float("nan")], "`covariances` must be finite, got 1 entries"),
    ],
)
def test_misfits_are_refused(weights, means, covariances, message):
    with pytest.raises(ValueError, match=message):
        problems.gaussian_mixture(weights, means, covariances, linear())


def test_python_numbers_keep_their_double_precision() -> None:
    listed = problems.gaussian_mixture([0.3, 0.7], [[-1.5, 0.1], [1.0, 0.2]], [0.2, 0.4], linear())
    tensors = problems.gaussian_mixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-1.5, 0.1], [1.0, 0.2]], dtype=torch.float64),
        torch.tensor([0.2, 0.4], dtype=torch.float64),
        linear(),
    )
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(6, 2)
    torch.testing.assert_close(listed.b(0.6, x), tensors.b(0.6, x), rtol=1e-14, atol=1e-14)

"""Empirical measure: the field against arbitrary precision, chunked as well as whole."""

from __future__ import annotations

import sys

import mpmath
import pytest
import torch

from flowops import problems
from flowops.interpolants import (
    Interpolant,
    cosine,
    linear,
    trigonometric,
    variance_exploding,
    variance_preserving,
)

MODULE = sys.modules["flowops.problems.empirical"]  # the package exports the function of the same name
BRIDGE = Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))")


def reference(points, weights, x, t):
    """The field of the linear interpolant and the log-density at one state, in 50 digits."""
    with mpmath.workdps(50):
        a, b = 1 - mpmath.mpf(t), mpmath.mpf(t)
        rows = [[mpmath.mpf(v) for v in row] for row in points.tolist()]
        x0 = [[(mpmath.mpf(v) - b * p) / a for v, p in zip(x.tolist(), row, strict=True)] for row in rows]
        mass = [w * mpmath.exp(-sum(v * v for v in r) / 2) for w, r in zip(weights, x0, strict=True)]
        total = sum(mass)
        field = [
            sum(m * (row[c] - r[c]) for m, row, r in zip(mass, rows, x0, strict=True)) / total for c in range(len(x))
        ]
        log_density = mpmath.log(total) - len(x) * mpmath.log(a * mpmath.sqrt(2 * mpmath.pi))
        return torch.tensor([float(v) for v in field], dtype=torch.float64), float(log_density)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [0.0, 1e-4, 0.5, 0.95, 1 - 2**-13])
def test_the_field_agrees_with_arbitrary_precision(dtype, t, generator):
    points = 3 * torch.randn(12, 2, generator=generator, dtype=dtype)
    weights = torch.softmax(torch.randn(12, generator=generator, dtype=torch.float64), 0)
    problem = problems.empirical(points, linear(), weights)
    t = torch.tensor(t, dtype=dtype)
    x = problem.sample(t, 4, generator=generator, dtype=dtype)
    eps, alpha = torch.finfo(dtype).eps, 1 - t.item()
    for value, log_density, state in zip(problem.b(t, x), problem.log_prob(t, x), x, strict=True):
        field, expected = reference(points, weights.tolist(), state, t.item())
        assert (value.double() - field).abs().max() < 50 * eps / alpha * (1 + field.abs().max())
        assert abs(log_density.item() - expected) < 50 * eps / alpha * (1 + abs(expected))


@pytest.mark.parametrize("interpolant", [trigonometric(), BRIDGE], ids=lambda i: i.name)
@pytest.mark.parametrize("event", [(), (3,), (2, 3, 3)])
def test_chunks_do_not_change_the_field(interpolant, event, generator, monkeypatch):
    points = torch.randn(23, *event, generator=generator, dtype=torch.float64)
    problem = problems.empirical(points, interpolant)
    t = torch.rand(5, generator=generator, dtype=torch.float64)
    x = problem.sample(t, 5, generator=generator, dtype=torch.float64)

    def values():
        return problem.b(t, x), problem.log_prob(t, x), problem.b.jvp(t, x, torch.ones_like(x))

    whole = values()
    for elements in (1, 7 * x.numel()):
        monkeypatch.setattr(MODULE, "_ELEMENTS", elements)
        torch.testing.assert_close(values(), whole)


ENDS = {
    "linear": (linear(), 0.0),
    "trigonometric": (trigonometric(), 0.0),
    "cosine": (cosine(), 0.5),
    "variance preserving": (variance_preserving(), 0.5),
    "square roots": (Interpolant.from_expressions("sqrt(1-t)", "t**2"), 0.5),
    "fast": (Interpolant.from_expressions("(1-t)**3", "t*(3-t)/2"), -2.0),
}


class TestTheEnd:
    """What the field of points is at t = 1, where their law has no density."""

    @pytest.mark.parametrize(("interpolant", "share"), ENDS.values(), ids=list(ENDS))
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_on_a_point_it_is_the_limit_of_the_field_there(self, interpolant, share, dtype):
        points = torch.tensor([[1.0, -2.0], [0.5, 1.0]], dtype=torch.float64)
        b = problems.empirical(points, interpolant).b
        value = b(1.0, points.to(dtype))
        wanted = share * interpolant.beta_dot(torch.ones(1, dtype=torch.float64)) * points
        torch.testing.assert_close(value.double(), wanted, rtol=1e-6, atol=1e-6)
        before = 1e-6 if share >= 0 else 1e-4  # a power of it must not fall below the precision
        torch.testing.assert_close(b(1 - before, points), wanted, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize(("interpolant", "share"), ENDS.values(), ids=list(ENDS))
    def test_in_the_clock_it_is_that_of_the_trigonometric_schedule(self, interpolant, share):
        points = torch.tensor([[1.0, -2.0], [0.5, 1.0]], dtype=torch.float64)
        clock, there = problems.empirical(points, interpolant).b.clock(), problems.empirical(points, trigonometric()).b
        assert clock is not None
        for t, x in ((1.0, points), (1.0, points + 0.1), (0.3, points)):
            torch.testing.assert_close(clock.b(t, x), there(t, x), rtol=0, atol=0)

    @pytest.mark.parametrize("name", [name for name in ENDS if name != "fast"])
    def test_elsewhere_it_points_to_the_nearest_point_and_grows_without_bound(self, name):
        interpolant, _ = ENDS[name]
        points = torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
        b, x = problems.empirical(points, interpolant).b, torch.tensor([[1.0, 0.5], [2.5, -0.1]]).double()
        towards = points - x
        sizes = []
        for t in (1 - 1e-5, 1 - 1e-7, 1.0):
            value = b(t, x)
            sizes.append(value.norm(dim=1))
            assert (torch.cosine_similarity(value, towards) > 1 - 1e-3).all()
        assert (sizes[1] > 50 * sizes[0]).all()
        assert (sizes[2] > 1e12).all()
        assert sizes[2].isfinite().all()

    def test_with_noise_left_at_the_end_nothing_is_special(self):
        I = variance_exploding()
        b = problems.empirical(torch.zeros(1, 1, dtype=torch.float64), I).b
        x = torch.tensor([[0.0], [0.3]], dtype=torch.float64)
        torch.testing.assert_close(b(1.0, x), x * (I.alpha_dot(1.0) / I.alpha(1.0)).double(), rtol=1e-6, atol=0)


def test_a_far_chunk_does_not_spoil_the_others(monkeypatch):
    monkeypatch.setattr(MODULE, "_ELEMENTS", 1)
    points = torch.tensor([[1e4], [0.0], [-1e4]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1]):
        denoised = problems.empirical(points[order], linear()).b.denoiser(0.999, torch.tensor([[0.01]]))
        torch.testing.assert_close(denoised, torch.zeros(1, 1))


@pytest.mark.parametrize("interpolant", [linear(), BRIDGE], ids=lambda i: i.name)
def test_it_is_the_limit_of_narrow_mixtures(interpolant, generator):
    points = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    weights = torch.softmax(torch.randn(6, generator=generator, dtype=torch.float64), 0)
    exact = problems.empirical(points, interpolant, weights)
    narrow = problems.gaussian_mixture(weights, points, 1e-12, interpolant)
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    x = exact.sample(t, 5, generator=generator, dtype=torch.float64)
    for f, g in ((exact.b, narrow.b), (exact.score, narrow.score), (exact.log_prob, narrow.log_prob)):
        torch.testing.assert_close(f(t, x), g(t, x), rtol=1e-7, atol=1e-7)


def test_the_score_is_the_gradient_of_the_log_density(generator):
    problem = problems.empirical(torch.randn(9, 4, generator=generator, dtype=torch.float64), BRIDGE)
    x = problem.sample(0.7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(problem.log_prob(0.7, x).sum(), x)
    torch.testing.assert_close(problem.score(0.7, x), expected)


def test_draws_are_points_with_their_frequencies(generator):
    """Counts within 5 standard errors: a false alarm in fewer than one of 10^5 runs (4 comparisons)."""
    n, weights = 10_000, torch.tensor([0.1, 0.0, 0.6, 0.3])
    points = torch.arange(8.0).reshape(4, 1, 2)
    x = problems.empirical(points, linear(), weights).sample_data(n, generator=generator)
    counts = (x == points[:, None]).flatten(2).all(2).sum(1)
    assert counts.sum() == n
    assert ((counts - n * weights).abs() <= 5 * (n * weights * (1 - weights)).sqrt()).all()


def test_points_keep_their_dtype():
    assert problems.empirical(torch.zeros(3, 2, dtype=torch.float32), linear()).b.points.dtype == torch.float32


@pytest.mark.parametrize(
    ("points", "weights", "error", "message"),
    [
        (torch.zeros(0, 2), None, ValueError, r"`points` must have shape .* with at least one entry, got \[0, 2\]"),
        (torch.zeros(()), None, ValueError, r"`points` must have shape \[N, \*event\]"),
        (torch.tensor([float("nan")]), None, ValueError, "`points` must be finite, got 1 entries"),
        (torch.zeros(3, 2), [0.5, 0.5], ValueError, r"`weights` must have shape \[3\]"),
        (torch.zeros(2, 2), [0.5, 0.4], ValueError, "`weights` must sum to 1, got 0.9"),
        (
            torch.zeros(3, 2, dtype=torch.uint8),
            None,
            TypeError,
            "`points` must be a floating tensor .* got torch.uint8",
        ),
        ([[0.0]], None, TypeError, "`points` must be a floating tensor .* got list"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_misfits_are_refused(points, weights, error, message):
    with pytest.raises(error, match=message):
        problems.empirical(points, linear(), weights)


def test_an_alpha_rounded_below_zero_still_points_at_the_data():
    interpolant = Interpolant.from_expressions("cos(pi*t/2)", "sin(pi*t/2)")
    assert interpolant.alpha(torch.tensor(1.0, dtype=torch.float32)) < 0
    b = problems.empirical(torch.tensor([[0.0], [2.0]]), interpolant).b
    assert (b(1.0, torch.tensor([[0.1], [1.9]])) * torch.tensor([[-1.0], [1.0]]) > 0).all()

"""Mass and means of a cut normal law, in every regime and across the seams, against arbitrary precision."""

from __future__ import annotations

import mpmath
import pytest
import torch

from flowops._derivatives import value_and_jvp
from flowops.problems._truncated_normal import cut_normal

HALF = 0.25
CASES = [  # x, beta, sigma
    *[(x, 1e-4, 1.0) for x in (-3.0, 0.0, 30.0)],
    *[(x, 0.5, 0.5) for x in (-3.0, 0.1, 2.0, 8.0)],
    *[(x, 0.9, 0.1) for x in (-1.5, 0.0, 0.1, 0.22, 0.3, 2.0)],
    *[(x, 0.999, 1e-3) for x in (-1.2, 0.0, 0.2497, 0.251, 0.4)],
    *[(x, 1.0, 0.3) for x in (0.7, 0.8, 0.85, 0.9, 1.0, 1.1, 1.15)],
    *[(x, 1.0, 0.25 / 0.7071) for x in (0.0, 1e-3, 0.01)],
]


def reference(x, beta, sigma):
    with mpmath.workdps(60):
        x, beta, sigma = (mpmath.mpf(v) for v in (x, beta, sigma))
        left, right = ((beta * y - x) / sigma for y in (-mpmath.mpf(HALF), mpmath.mpf(HALF)))
        sign = 1
        if left + right < 0:
            left, right, sign = -right, -left, -1
        mass = (mpmath.erfc(left / mpmath.sqrt(2)) - mpmath.erfc(right / mpmath.sqrt(2))) / 2
        mean = sign * (mpmath.npdf(left) - mpmath.npdf(right)) / mass
        return [float(v) for v in (mpmath.log(mass / beta), mean, (x + sigma * mean) / beta)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_regimes_agree_with_arbitrary_precision(dtype):
    x, beta, sigma = torch.tensor(CASES, dtype=dtype).T
    cut = cut_normal(x, beta, sigma, torch.zeros((), dtype=dtype), HALF)
    expected = torch.tensor(
        [reference(*row) for row in zip(x.tolist(), beta.tolist(), sigma.tolist(), strict=True)], dtype=torch.float64
    )
    eps = torch.finfo(dtype).eps
    # u is known to eps |x| / sigma, its logarithmic density to |u| times that.
    u = (1 + (x.abs() + HALF) / sigma).double()
    assert ((cut.log_mass.double() - expected[:, 0]).abs() < 20 * eps * u**2).all()
    assert ((cut.mean.double() - expected[:, 1]).abs() < 20 * eps * u).all()
    assert ((cut.position.double() - expected[:, 2]).abs() < 50 * eps * (1 + x.abs())).all()


def test_derivatives_are_finite_everywhere_and_right():
    """E[y] grows with x at the rate beta Var[y] / sigma^2, between 0 and what the width of the interval allows."""
    x, beta, sigma = torch.tensor(CASES, dtype=torch.float64).T
    one = torch.ones_like(x)

    def position(v):
        return cut_normal(v, beta, sigma, torch.zeros((), dtype=v.dtype), HALF).position

    _, slope = value_and_jvp(position, (x.contiguous(),), (one,))
    assert slope.isfinite().all()
    assert (slope > -1e-6).all()
    assert (slope <= beta * HALF**2 / sigma**2 + 1e-6).all()
    h = 1e-5 * sigma
    torch.testing.assert_close(slope, (position(x + h) - position(x - h)) / (2 * h), rtol=1e-4, atol=1e-6)


def test_an_interval_that_noise_hides_keeps_its_uniform_law():
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    cut = cut_normal(torch.tensor([-1.0, 0.0, 50.0], dtype=torch.float64), zero, one, 0.5 * one, HALF)
    torch.testing.assert_close(cut.position, 0.5 * one)
    torch.testing.assert_close(cut.mean, torch.tensor([1.0, 0.0, -50.0], dtype=torch.float64))

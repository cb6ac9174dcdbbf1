r"""Transport: X_{s,t} pushes rho_s forward to rho_t.

Hypotheses: $b$ is the field of the interpolant. For a Gaussian pair the moments are compared in closed form; for a
mixture the law of $X_{s,t}(I_s)$ is compared with fresh draws of $I_t$ by Kolmogorov-Smirnov tests along eight
directions, with a false-alarm rate of at most $10^{-6}$ per case (Bonferroni), on a fixed seed.

Source: 2505.18825 Lemma A.1, (4).
"""

import pytest
import torch
from scipy.stats import ks_2samp

from flowops import FlowMap, Interpolant
from theory_checks.cases import CLOSED_FORM, SINGLE, draw, exact_map, gaussian, gaussian_parameters, mixture
from theory_checks.controls import Perturbed
from theory_checks.verdicts import Check

FALSE_ALARM = 1e-6
DIRECTIONS = 8


def moments(I: Interpolant, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of I_t for the Gaussian pair, from their definition."""
    mean, covariance = gaussian_parameters()
    time = torch.tensor(t, dtype=torch.float64)
    noise = (I.alpha(time) ** 2 + I.gamma(time) ** 2) * torch.eye(len(mean), dtype=torch.float64)
    return I.beta(time) * mean, noise + I.beta(time) ** 2 * covariance


@pytest.mark.parametrize(("s", "t"), [(0.1, 0.9), (0.9, 0.2), (0.4, 0.4)])
def test_gaussian_moments(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    X = exact_map(gaussian(interpolant))
    mean_s, cov_s = moments(interpolant, s)
    mean_t, cov_t = moments(interpolant, t)
    slope = X.jacobian(s, t, mean_s[None])[0]  # the map is affine: its Jacobian is the same everywhere
    check.vanishes(X(s, t, mean_s[None])[0] - mean_t, CLOSED_FORM, scale=1 + mean_t.norm())
    check.vanishes(slope @ cov_s @ slope.T - cov_t, CLOSED_FORM, scale=cov_t.norm())


def test_single_precision(interpolant: Interpolant, check: Check) -> None:
    X = exact_map(gaussian(interpolant))
    mean_s, mean_t = moments(interpolant, 0.2)[0], moments(interpolant, 0.8)[0]
    check.vanishes(X(0.2, 0.8, mean_s[None].float())[0] - mean_t, SINGLE, scale=1 + mean_t.norm())


def smallest_p_value(X: FlowMap, interpolant: Interpolant, s: float, t: float) -> float:
    """Smallest Kolmogorov-Smirnov p-value over the directions, times their number."""
    problem = mixture(interpolant)
    pushed = X(s, t, draw(problem, s, 3000, seed=1))
    fresh = draw(problem, t, 3000, seed=2)
    angles = torch.pi * torch.arange(DIRECTIONS) / DIRECTIONS
    directions = torch.stack([angles.cos(), angles.sin()]).double()
    pairs = zip((pushed @ directions).T.detach().numpy(), (fresh @ directions).T.numpy(), strict=True)
    return DIRECTIONS * min(ks_2samp(a, b).pvalue for a, b in pairs)


@pytest.mark.parametrize(("s", "t"), [(0.05, 0.95), (0.9, 0.3)])
def test_mixture_in_law(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    X = mixture(interpolant).b.flow_map(rtol=1e-6, atol=1e-6)
    check.at_most(FALSE_ALARM / smallest_p_value(X, interpolant, s, t), 1.0)


def test_negative_control(interpolant: Interpolant) -> None:
    X = Perturbed(mixture(interpolant).b.flow_map(rtol=1e-6, atol=1e-6), 0.7)
    spread = float(draw(mixture(interpolant), 0.95, 500, seed=3).std())
    X.delta *= max(1.0, spread)
    assert smallest_p_value(X, interpolant, 0.05, 0.95) < FALSE_ALARM

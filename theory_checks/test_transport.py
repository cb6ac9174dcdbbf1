r"""Transport: X_{s,t} pushes rho_s forward to rho_t.

For a Gaussian pair the moments are compared in closed form. For a mixture the laws are compared whole: with
$k(x,y)=e^{-|x-y|^2/2h}$ the distance
$$\big|\mathbb E\,k(\cdot,X_{s,t}(I_s))-\mathbb E\,k(\cdot,I_t)\big|_{\mathcal H}$$
of the kernel's space is zero for equal laws only, where finitely many directions or moments determine none. Its second
term is a closed form, a Gaussian against Gaussians; the first a trapezoid rule over $\rho_s$, no draw, so that a map
that is wrong by a few hundredths is seen. Times are those at which the data weigh a given multiple of the noise.

Hypotheses: $b$ is the field of the interpolant, Lipschitz in $x$ between the two times.

Source: 2505.18825 Lemma A.1, (4); Gretton et al. 2012, JMLR 13, Thm. 5 (the kernel is characteristic).
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant
from theory_checks.cases import CLOSED_FORM, SINGLE, exact_map, gaussian, gaussian_parameters, mixture
from theory_checks.controls import Perturbed
from theory_checks.data_laws import CENTERS, COVARIANCES, SHARES, spread, time_at
from theory_checks.verdicts import Check

POINTS = 44  # a side
PAIRS = {"forward": (0.05, 1.5), "backward": (5.0, 0.5)}  # the data against the noise, at s and at t
RESOLVED = 2e-4  # by the trapezoid rule


def moments(I: Interpolant, t: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of I_t for the Gaussian pair, from their definition."""
    mean, covariance = gaussian_parameters()
    time = torch.tensor(t, dtype=torch.float64)
    noise = (I.alpha(time) ** 2 + I.gamma(time) ** 2) * torch.eye(len(mean), dtype=torch.float64)
    return I.beta(time) * mean, noise + I.beta(time) ** 2 * covariance


@pytest.mark.parametrize(("s", "t"), [(0.1, 0.9), (0.9, 0.2), (0.4, 0.4), (0.0, 1.0), (1.0, 0.0)])
def test_gaussian_moments(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    X = exact_map(gaussian(interpolant))
    mean_s, cov_s = moments(interpolant, s)
    mean_t, cov_t = moments(interpolant, t)
    slope = X.jacobian(s, t, mean_s[None])[0]  # the map is affine: its Jacobian is the same everywhere
    check.vanishes(X(s, t, mean_s[None])[0] - mean_t, CLOSED_FORM, scale=1 + mean_t.norm())
    check.vanishes(slope @ cov_s @ slope.T - cov_t, CLOSED_FORM, scale=cov_t.norm())


@pytest.mark.parametrize(("s", "t"), [(0.2, 0.8), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0)])
def test_single_precision(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    X = exact_map(gaussian(interpolant))
    mean_s, mean_t = moments(interpolant, s)[0], moments(interpolant, t)[0]
    check.vanishes(X(s, t, mean_s[None].float())[0] - mean_t, SINGLE, scale=1 + mean_t.norm())


def modes(I: Interpolant, t: float) -> list[tuple[float, Tensor, Tensor]]:
    """Weights, means and covariances of the mixture at time `t`."""
    beta, noise = I.beta(torch.tensor(t).double()), spread(I, t) ** 2 * torch.eye(2, dtype=torch.float64)
    return [(p, beta * m, noise + beta**2 * S) for p, m, S in zip(SHARES, CENTERS, COVARIANCES, strict=True)]


def overall(I: Interpolant, t: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the mixture at time `t`."""
    mean = sum((p * m for p, m, _ in modes(I, t)), torch.zeros(2, dtype=torch.float64))
    outer = (p * (S + torch.outer(m - mean, m - mean)) for p, m, S in modes(I, t))
    return mean, sum(outer, torch.zeros(2, 2, dtype=torch.float64))


def gaussian_kernel(d: Tensor, covariance: Tensor) -> Tensor:
    r"""$e^{-d\cdot\Sigma^{-1}d/2}$."""
    return torch.exp(-torch.einsum("...i,ij,...j->...", d, torch.linalg.inv(covariance), d) / 2)


def nodes(I: Interpolant, s: float) -> tuple[Tensor, Tensor]:
    """A grid over five and a half deviations, and its probabilities."""
    mean, covariance = overall(I, s)
    axis = torch.linspace(-5.5, 5.5, POINTS, dtype=torch.float64)
    x = mean + torch.cartesian_prod(axis, axis) @ torch.linalg.cholesky(covariance).mT
    w = sum((p / torch.linalg.det(S).sqrt() * gaussian_kernel(x - m, S) for p, m, S in modes(I, s)), x.new_zeros(()))
    kept = w > 1e-8 * w.sum()
    return x[kept], w[kept] / w[kept].sum()


def distance(X: FlowMap, I: Interpolant, s: float, t: float) -> float:
    """Of the law that is pushed forward and the law at time `t`, in the kernel's space."""
    x, w = nodes(I, s)
    y = X(s, t, x).detach()
    width = overall(I, t)[1].trace() / 8
    h = width * torch.eye(2, dtype=torch.float64)

    def smoothed(d: Tensor, covariance: Tensor) -> Tensor:
        """The kernel in the mean over a centred normal law."""
        return width / torch.linalg.det(covariance + h).sqrt() * gaussian_kernel(d, covariance + h)

    own = w @ torch.exp(-(torch.cdist(y, y) ** 2) / (2 * width)) @ w
    mixed = sum(p * (w @ smoothed(y - m, S)) for p, m, S in modes(I, t))
    true = sum(p * q * smoothed(m - n, S + R) for p, m, S in modes(I, t) for q, n, R in modes(I, t))
    return float((own - 2 * mixed + true).clamp(min=0).sqrt())


def solved(I: Interpolant) -> FlowMap:
    return mixture(I).b.flow_map(rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", PAIRS)
def test_mixture_in_law(interpolant: Interpolant, check: Check, way: str) -> None:
    s, t = (time_at(interpolant, ratio) for ratio in PAIRS[way])
    check.at_most(distance(solved(interpolant), interpolant, s, t), RESOLVED)


@pytest.mark.parametrize("way", PAIRS)
def test_negative_control(interpolant: Interpolant, check: Check, way: str) -> None:
    """Off by two hundredths of the spread, and by one."""
    s, t = (time_at(interpolant, ratio) for ratio in PAIRS[way])
    size = 0.02 * float(overall(interpolant, t)[1].trace().sqrt()) / abs(t - s)
    wrong, half = (distance(Perturbed(solved(interpolant), d), interpolant, s, t) for d in (size, size / 2))
    check.sees(torch.tensor(wrong), torch.tensor(half), RESOLVED)

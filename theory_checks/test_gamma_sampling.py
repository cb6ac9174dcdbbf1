r"""Noise put back between exact steps keeps every marginal law: gamma-sampling and restarts.

With $u$ the time of noise level $\sqrt{1-\gamma^2}\,\alpha_t/\beta_t$, the state $\tfrac{\beta_t}{\beta_u}X_{s,u}(x)+
\sqrt{\alpha_t^2-(\alpha_u\beta_t/\beta_u)^2}\,\varepsilon$ has the law of $I_t$ if $x$ has that of $I_s$, for every
$\gamma\in[0,1]$; so has a restart. Hypotheses: two terms, Gaussian base, the exact map. For a Gaussian pair every state
on the way is affine in $x_0$ and the noises, whose coefficients are read off one by one; mean and covariance are then
exact. For a mixture the laws are compared by Kolmogorov-Smirnov tests along eight directions, with a false-alarm rate
of at most $10^{-6}$ per case (Bonferroni), on fixed seeds. Noise of another level is seen.

Source: 2310.02279 Alg. 3; 2303.01469 Alg. 1; 2306.14878.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from flowops import FlowMap, Interpolant, SolutionOperator, interpolants
from flowops.sampling import gamma_sample, restart_sample, sampler
from theory_checks.cases import CLOSED_FORM, SINGLE, draw, exact_map, gaussian, gaussian_parameters, mixture
from theory_checks.verdicts import Check

pytestmark = pytest.mark.two_terms
GRID = [0.0, 0.15, 0.4, 0.75, 1.0]
GAMMAS = [0.0, 0.3, 0.8, 1.0]
STREAMS = len(GRID)
FALSE_ALARM, DIRECTIONS = 1e-6, 8
Sampler = Callable[[FlowMap, Interpolant, Tensor], Tensor]


class Recorded(FlowMap):
    """A map that keeps the start of every call: the states on the way, each with its time."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X, self.starts = X, list[tuple[float, Tensor]]()

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        self.starts.append((float(s[0]), x))
        return self.X(s, t, x)


def by_gamma(gamma: float) -> Sampler:
    """Gamma-sampling on the grid."""
    return lambda X, I, x0: gamma_sample(X, I, x0, GRID, gamma, seed=0)


def restarted(u: float, v: float, count: int = 2) -> Sampler:
    """Restarts between two times of the grid."""
    return lambda X, I, x0: restart_sample(X, I, x0, GRID, (u, v), count, seed=0)


def moments(I: Interpolant, t: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of $I_t$ for the Gaussian pair."""
    mean, covariance = gaussian_parameters()
    time = torch.tensor(t, dtype=torch.float64)
    return I.beta(time) * mean, I.alpha(time) ** 2 * torch.eye(2).double() + I.beta(time) ** 2 * covariance


def impulses(monkeypatch: pytest.MonkeyPatch, size: float = 1.0) -> Tensor:
    """Unit base states, and noise that is a unit vector of one stream for each of the rows that follow them.

    Rows: the mean; the mean plus a column of a root of the covariance; the mean with one unit of noise in one stream.
    """

    def noise(n: int, event: tuple[int, ...], *, stream: int, **_: object) -> Tensor:
        e = torch.zeros(n, *event, dtype=torch.float64)
        row = 3 + 2 * (stream - 1)
        e[row, 0] = e[row + 1, 1] = size
        return e

    monkeypatch.setattr(sampler, "noise", noise)
    return torch.cat([torch.zeros(1, 2), torch.eye(2), torch.zeros(2 * STREAMS, 2)]).double()


def residuals_of(I: Interpolant, method: Sampler, coefficients: Tensor) -> Tensor:
    """How far mean and covariance are from those of $I_t$, relative to their sizes, for every state on the way."""
    X = Recorded(exact_map(gaussian(I)))
    mean, covariance = moments(I, 0.0)
    end = method(X, I, mean + coefficients @ torch.linalg.cholesky(covariance).mT)
    found = []
    for t, x in [*X.starts, (1.0, end)]:
        wanted_mean, wanted_covariance = moments(I, t)
        columns = x[1:] - x[0]
        found.append((x[0] - wanted_mean).abs().max() / (1 + wanted_mean.norm()))
        found.append((columns.mT @ columns - wanted_covariance).abs().max() / wanted_covariance.norm())
    return torch.stack(found)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gamma_sampling_keeps_the_moments_at_every_step(
    interpolant: Interpolant, check: Check, monkeypatch: pytest.MonkeyPatch, gamma: float
) -> None:
    check.vanishes(residuals_of(interpolant, by_gamma(gamma), impulses(monkeypatch)), CLOSED_FORM)


@pytest.mark.parametrize(("u", "v"), [(0.15, 0.75), (0.4, 1.0), (0.0, 0.4)])
def test_restarts_keep_the_moments_at_every_step(
    interpolant: Interpolant, check: Check, monkeypatch: pytest.MonkeyPatch, u: float, v: float
) -> None:
    check.vanishes(residuals_of(interpolant, restarted(u, v), impulses(monkeypatch)), CLOSED_FORM)


def test_single_precision(interpolant: Interpolant, check: Check) -> None:
    X, x0 = exact_map(gaussian(interpolant)), draw(gaussian(interpolant), 0.0, 4, seed=0)
    truth = by_gamma(0.5)(X, interpolant, x0)
    check.vanishes(by_gamma(0.5)(X, interpolant, x0.float()) - truth, SINGLE, scale=1 + truth.abs().max())


@pytest.mark.parametrize("method", [by_gamma(0.8), by_gamma(1.0), restarted(0.15, 0.75)], ids=["0.8", "1", "restart"])
def test_negative_control(check: Check, monkeypatch: pytest.MonkeyPatch, method: Sampler) -> None:
    I = interpolants.trigonometric()
    off = [residuals_of(I, method, impulses(monkeypatch, 1 + delta)) for delta in (1e-3, 5e-4)]
    check.sees(off[0], off[1], CLOSED_FORM)


def test_the_noise_levels_of_another_schedule_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    I, other = interpolants.trigonometric(), interpolants.linear()
    wrong = residuals_of(I, lambda X, _, x0: by_gamma(0.8)(X, other, x0), impulses(monkeypatch))
    assert wrong.max() > 0.01


def smallest_p_value(x: Tensor, y: Tensor) -> float:
    """Smallest Kolmogorov-Smirnov p-value over the directions, times their number."""
    angles = torch.pi * torch.arange(DIRECTIONS) / DIRECTIONS
    directions = torch.stack([angles.cos(), angles.sin()]).double()
    pairs = zip((x @ directions).T.numpy(), (y @ directions).T.numpy(), strict=True)
    return DIRECTIONS * min(ks_2samp(a, b).pvalue for a, b in pairs)


def laws(method: Sampler, I: Interpolant) -> tuple[Tensor, Tensor]:
    """Samples of a mixture by its solved map, with noise by the schedule `I`, and fresh ones of the data."""
    problem = mixture(interpolants.linear())
    X = SolutionOperator(problem.b, method="rk4", steps=20)
    return method(X, I, draw(problem, 0.0, 2000, seed=1)), draw(problem, 1.0, 2000, seed=2)


@pytest.mark.parametrize("method", [by_gamma(0.5), by_gamma(1.0), restarted(0.15, 0.75)], ids=["0.5", "1", "restart"])
def test_a_mixture_in_law(check: Check, method: Sampler) -> None:
    check.at_most(FALSE_ALARM / smallest_p_value(*laws(method, interpolants.linear())), 1.0)


def test_a_mixture_with_the_noise_of_another_schedule_is_seen() -> None:
    assert smallest_p_value(*laws(by_gamma(1.0), interpolants.cosine())) < FALSE_ALARM

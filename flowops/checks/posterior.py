r"""The conditional means of noise and data by quadrature, however narrow the posterior is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowops.interpolants import Interpolant

_REACH = 12.0  # standard deviations of the noise beyond which nothing is left
_PANELS, _NODES = 160, 12


def conditional_means(
    I: Interpolant, t: Tensor, x: Tensor, prior: Callable[[Tensor], Tensor], radius: float
) -> tuple[Tensor, Tensor]:
    r"""$\mathbb E[\varepsilon\mid I_t=x]$ and $\mathbb E[x_1\mid I_t=x]$ on the real line, `[n]` each.

    With $I_t=\beta_tx_1+\sigma_t\varepsilon$, $\sigma_t^2=\alpha_t^2+\gamma_t^2$, the integral is over the noise:
    $x_1=(x-\sigma_t\varepsilon)/\beta_t$ has no cancellation where $\sigma_t$ is small. The panels lie where the noise
    and the data both have mass, so that a posterior of width $\sigma_t/\beta_t$ is resolved.

    Args:
        I: from a Gaussian base.
        t: times inside (0, 1), `[n]`.
        x: states, `[n]`.
        prior: density of $x_1$, up to a factor.
        radius: beyond which the prior has no mass.

    Cost: 1,920 evaluations of the prior per state.
    """
    beta, sigma = I.beta(t)[:, None], noise_deviation(I, t)[:, None]
    ends = torch.stack([(x[:, None] - beta * edge) / sigma for edge in (radius, -radius)])
    low = ends.amin(0).clamp(min=-_REACH)
    high = ends.amax(0).clamp(max=_REACH)
    points, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_NODES))
    edges = torch.arange(_PANELS, dtype=torch.float64)[:, None] + (points + 1) / 2
    noise = low + (high - low) * edges.reshape(-1) / _PANELS
    data = (x[:, None] - sigma * noise) / beta
    log_mass = prior(data).log() - noise**2 / 2
    mass = weights.repeat(_PANELS) * torch.exp(log_mass - log_mass.amax(1, keepdim=True))
    mass = mass / mass.sum(1, keepdim=True)
    return (mass * noise).sum(1), (mass * data).sum(1)


def noise_deviation(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\sigma_t=\sqrt{\alpha_t^2+\gamma_t^2}$."""
    return torch.hypot(I.alpha(t), I.gamma(t))

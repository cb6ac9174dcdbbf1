r"""What consistency training learns without any error of training, in one dimension.

On rungs $s_0<\dots<s_N=1$ it is $f_n(x)=\mathbb E[f_{n+1}(I_{s_{n+1}})\mid I_{s_n}=x]$ with $f_N(x)=x$. For data
$\sum_kw_kN(m_k,\sigma^2)$ the law of $I_{s_{n+1}}$ given $I_{s_n}=x$ is a mixture too, so that $f_n$ is a sum of
Gauss-Hermite rules over a spline of $f_{n+1}$.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import softmax
from torch import Tensor

from flowops import Interpolant

Array = NDArray[np.float64]
REACH = 9.0  # deviations beyond the outermost mode at which the splines end
POINTS = 2_001


@dataclass(frozen=True)
class Modes:
    """A mixture of normal laws on the line with one deviation, as data of a schedule without a latent."""

    weights: Array
    means: Array
    deviation: float
    interpolant: Interpolant

    def coefficients(self, t: float) -> tuple[float, float]:
        r"""$\alpha_t,\beta_t$."""
        time = torch.tensor(t, dtype=torch.float64)
        return float(self.interpolant.alpha(time)), float(self.interpolant.beta(time))

    def variance(self, t: float) -> float:
        """Of each mode, with its noise."""
        alpha, beta = self.coefficients(t)
        return alpha**2 + (beta * self.deviation) ** 2

    def grid(self, t: float) -> Array:
        """Points that reach far beyond all that occurs at a time."""
        centers, reach = self.coefficients(t)[1] * self.means, REACH * self.variance(t) ** 0.5
        return np.linspace(centers.min() - reach, centers.max() + reach, POINTS)

    def moves(self, s: float, u: float, x: Array) -> tuple[Array, Array, float]:
        """The law of $I_u$ given $I_s=x$: weights `[K, n]` and means `[K, n]` of its modes, and their deviation."""
        (a, b), (c, d) = self.coefficients(s), self.coefficients(u)
        variance, covariance = self.variance(s), a * c + b * d * self.deviation**2
        distance = x - b * self.means[:, None]
        weights = softmax(np.log(self.weights)[:, None] - distance**2 / (2 * variance), axis=0)
        left = max(self.variance(u) - covariance**2 / variance, 0.0)
        return weights, d * self.means[:, None] + covariance / variance * distance, left**0.5


def learned(data: Modes, rungs: Tensor, x: Array, nodes: int = 40) -> Array:
    """$f_0(x)$, `[n]`: one step of the consistency model that training on these rungs has as its minimizer."""
    z, mass = np.polynomial.hermite_e.hermegauss(nodes)
    mass = mass / mass.sum()
    times = rungs.double().tolist()
    ahead: CubicSpline | None = None
    for n in range(len(times) - 2, -1, -1):
        places = x if n == 0 else data.grid(times[n])
        weights, means, deviation = data.moves(times[n], times[n + 1], places)
        reached = means[..., None] + deviation * z
        values = ((reached if ahead is None else ahead(reached)) @ mass * weights).sum(0)
        ahead = CubicSpline(places, values) if n else None
    return values


def shrinkage(data: Modes, rungs: Tensor) -> float:
    """The factor by which the deviation of normal data of this one's deviation comes out too small."""
    times = rungs.double().tolist()
    angle = [np.arctan2(data.deviation * b, a) for a, b in map(data.coefficients, times)]
    return float(np.cos(np.diff(angle)).prod())

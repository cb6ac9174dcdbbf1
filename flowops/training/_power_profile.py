r"""Power-function profiles: averages of a trajectory with weights that grow like a power of the step.

$$ \hat\theta_\gamma(n)=\frac{\gamma+1}{n^{\gamma+1}}\int_0^n\tau^\gamma\,\theta(\tau)\,d\tau, \qquad \gamma\ge0. $$

Of a trajectory that is constant between steps, $\theta(\tau)=\theta_k$ for $k-1<\tau\le k$, this is exactly the
recurrence $\hat\theta\leftarrow\beta_n\hat\theta+(1-\beta_n)\theta_n$ with $\beta_n=(1-1/n)^{\gamma+1}$. The profile is
named by its relative width $\sigma_{rel}$, its standard deviation over $n$. Source: Karras et al. 2312.02696, section 3
and appendix C.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDEST = 12**-0.5  # of the uniform profile, gamma = 0; wider ones would favour the oldest steps


def exponent(sigma_rel: float) -> float:
    r"""The $\gamma\ge0$ of a relative width, the largest root of a cubic.

    It solves $\sigma_{rel}^2=(\gamma+1)/\big((\gamma+2)^2(\gamma+3)\big)$. Source: 2312.02696 appendix C.

    Raises:
        ValueError: for a width that is not above 0 and at most that of the uniform profile.
    """
    if not 0 < sigma_rel <= WIDEST:
        raise ValueError(
            f"`sigma_rel` must be above 0 and at most {WIDEST:.4f}, the width of uniform weights, got {sigma_rel}; "
            f"pass 0.05, say."
        )
    inverse = sigma_rel**-2
    gamma = float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())
    return max(gamma, 0.0)


def inner_products(
    steps: NDArray[np.float64],
    gammas: NDArray[np.float64],
    other_steps: NDArray[np.float64],
    other_gammas: NDArray[np.float64],
) -> NDArray[np.float64]:
    r"""$\int p_{n,\gamma}\,p_{m,\delta}\,d\tau$ of all pairs of profiles.

    The profile $p_{n,\gamma}(\tau)=(\gamma+1)\tau^\gamma/n^{\gamma+1}$ lives on $[0,n]$. With $k=\min(n,m)$ it is
    $(\gamma+1)(\delta+1)/(\gamma+\delta+1)\cdot(k/n)^\gamma(k/m)^\delta\cdot k/(nm)$.

    Shapes: `[a]`, `[a]`, `[b]`, `[b]` to `[a, b]`.
    """
    n, gamma, m, delta = steps[:, None], gammas[:, None], other_steps[None], other_gammas[None]
    k = np.minimum(n, m)
    constant: NDArray[np.float64] = (gamma + 1) * (delta + 1) / (gamma + delta + 1)
    return constant * (k / n) ** gamma * (k / m) ** delta * k / (n * m)


def coefficients(
    steps: NDArray[np.float64], gammas: NDArray[np.float64], step: int, gamma: float
) -> NDArray[np.float64]:
    r"""The $c$ that minimizes $\int\big(p_{n,\gamma}-\sum_ic_i\,p_{n_i,\gamma_i}\big)^2d\tau$, `[a]`.

    It is scaled to add up to one. The normal equations are brought to a unit diagonal first.

    Source: 2312.02696 Algorithm 3.
    """
    gram = inner_products(steps, gammas, steps, gammas)
    target = inner_products(steps, gammas, np.array([float(step)]), np.array([gamma]))[:, 0]
    scale = np.diag(gram) ** -0.5
    solution = scale * np.linalg.solve(scale[:, None] * gram * scale, scale * target)
    return np.asarray(solution / solution.sum(), np.float64)

r"""The laws of the reference problems with data, written down by hand as nodes and weights.

Times are chosen by their noise level, at which every schedule puts the same question: $\beta_t/\sigma_t$ with
$\sigma_t^2=\alpha_t^2+\gamma_t^2$.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowops import Interpolant
from theory_checks.cases import gaussian_parameters
from theory_checks.quadrature import power, standard_normal, unit
from theory_checks.strategies import normal

SHARES = (0.2, 0.5, 0.3)  # of the modes of the mixture
CENTERS = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]], dtype=torch.float64)
COVARIANCES = torch.stack([0.3 * torch.eye(2, dtype=torch.float64)] * 2 + [gaussian_parameters()[1]])


def time_at(I: Interpolant, ratio: float) -> float:
    r"""The time at which $\beta_t/\sigma_t$ passes `ratio`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        data, base, latent = (float(f(torch.tensor(middle).double())) for f in (I.beta, I.alpha, I.gamma))
        low, high = (middle, high) if data < ratio * np.hypot(base, latent) else (low, middle)
    return (low + high) / 2


def spread(I: Interpolant, t: float) -> Tensor:
    r"""$\sigma_t$."""
    time = torch.tensor(t, dtype=torch.float64)
    return torch.hypot(I.alpha(time), I.gamma(time))


def normal_nodes(mean: Tensor, covariance: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite nodes of a normal law in the plane."""
    x, w = standard_normal(n, 2)
    return mean + x @ torch.linalg.cholesky(covariance).mT, w


def mixture_nodes(n: int) -> tuple[Tensor, Tensor]:
    """Those of the mixture, mode by mode."""
    rules = [normal_nodes(m, S, n) for m, S in zip(CENTERS, COVARIANCES, strict=True)]
    weights = [share * w for share, (_, w) in zip(SHARES, rules, strict=True)]
    return torch.cat([x for x, _ in rules]), torch.cat(weights)


def board_nodes(n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes of the uniform law on the eight dark squares of side 1/2 over [-1, 1]^2."""
    x, w = power(unit(n), 2)
    corners = [(i / 2 - 1, j / 2 - 1) for i in range(4) for j in range(4) if (i + j) % 2 == 0]
    return torch.cat([x / 2 + torch.tensor(c, dtype=x.dtype) for c in corners]), w.repeat(8) / 8


def drawn_points(_: int) -> tuple[Tensor, Tensor]:
    """Seven draws, each as likely as the others."""
    points = normal(9, 7, 2)
    return points, torch.full((7,), 1 / 7, dtype=points.dtype)


NODES: dict[str, Callable[[int], tuple[Tensor, Tensor]]] = {
    "gaussian": lambda n: normal_nodes(*gaussian_parameters(), n),
    "mixture": mixture_nodes,
    "checkerboard": board_nodes,
    "empirical": drawn_points,
}


def data_nodes(name: str, n: int = 8) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the data of a reference problem; a `KeyError` says that its law is not written down here."""
    return NODES[name](n)

"""Integrals over the real line by Gauss-Legendre panels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def panels(radius: float, number: int = 160, nodes: int = 12) -> tuple[Tensor, Tensor]:
    """Points and weights of Gauss-Legendre rules on equal panels over [-radius, radius]."""
    points, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    edges = torch.linspace(-radius, radius, number + 1, dtype=torch.float64)
    half = (edges[1:] - edges[:-1]) / 2
    return ((edges[:-1] + half)[:, None] + half[:, None] * points).flatten(), (half[:, None] * weights).flatten()

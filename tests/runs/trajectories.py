"""Weights that move along a known trajectory, and their averages in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import integrate
from torch import Tensor, nn

from flowops.training.averages import Averages

WIDTHS = [0.28, 0.1, 0.05, 0.01]


class Point(nn.Module):
    """One parameter and the buffers a network may have."""

    seen: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1, bias=False, dtype=value.dtype)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.go(value, 0)

    def go(self, value: Tensor, seen: int) -> None:
        with torch.no_grad():
            self.inner.weight.copy_(value.expand(1, 2))
        self.seen.fill_(seen)


def trajectory(step: float) -> Tensor:
    """The weights after a step."""
    return torch.tensor([np.cos(step / 40), np.log1p(step)], dtype=torch.float64)


def trained(steps: int, decays: Any, power: Any, at: Callable[[int], Tensor] = trajectory) -> Averages:
    """The averages after some steps along the trajectory."""
    module = Point(at(0))
    averages = Averages(module, decays, power)
    for step in range(1, steps + 1):
        module.go(at(step), step)
        averages.update(module, step)
    return averages


def integral(gamma: float, steps: int, at: Callable[[int], Tensor] = trajectory) -> Tensor:
    """The power-function average of the trajectory that is constant between steps, integrated piece by piece."""
    pieces = []
    for k in range(1, steps + 1):
        mass, _ = integrate.quad(lambda tau: (gamma + 1) * (tau / steps) ** gamma / steps, k - 1, k, epsabs=1e-14)
        pieces.append(mass * at(k))
    return torch.stack(pieces).sum(0)[None]

"""Runs whose map is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from flowops import LearnedMap
from flowops.runs import Run


class Velocity(nn.Module):
    """An average velocity in closed form."""

    def __init__(self, slope: float, constant: float) -> None:
        super().__init__()
        self.slope, self.constant = slope, constant

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return (self.slope * (t - s) + self.constant)[:, None] * torch.ones_like(x)


def of_map(run: Run, slope: float, constant: float) -> Run:
    """The run with another map."""
    return replace(run, X=LearnedMap(Velocity(slope, constant)))

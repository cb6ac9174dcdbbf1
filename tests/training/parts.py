"""What several tests of the training look at or train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops.data import Dataset, Pairs
from flowops.training import StepReport
from flowops.training.engine import Engine


def rates(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The rates of the groups of every step, as they will have been."""
    seen, plain = list[list[float]](), Engine._advance

    def spy(self: Engine, *arguments: Any) -> StepReport:
        report = plain(self, *arguments)
        seen.append([group["lr"] for group in self.optimizer.param_groups])
        return report

    monkeypatch.setattr(Engine, "_advance", spy)
    return seen


class Images(nn.Module):
    """A plain network of times and states."""

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.inner = nn.Linear(size + 2, size)
        for parameter in self.inner.parameters():
            nn.init.zeros_(parameter)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.inner(torch.cat([x.flatten(1), s[:, None], t[:, None]], 1)).reshape(x.shape)


def pairs() -> Dataset:
    """A data set of pairs."""
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return Pairs(x0, x0 + 1)

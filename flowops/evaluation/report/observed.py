"""What is looked at: a map, its field, and states at the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from flowops.fields import VelocityField
from flowops.maps import FlowMap, SolutionOperator


@dataclass(frozen=True)
class Observed:
    """A map, its field, and states.

    Attributes:
        X: the map.
        b: the field, or the one that the map implies.
        x: states at the start of the horizon, `[n, *event]`; conditions per sample belong to these rows.
        horizon: the first and the last time.
        backward: whether the map is meant to go back as well; a learned one mostly is not.
        data: other states at the end, which those of the map should look like.
        log_base: log-density of the law of `x`, where it is known.
    """

    X: FlowMap
    b: VelocityField
    x: Tensor
    horizon: tuple[float, float] = (0.0, 1.0)
    backward: bool = True
    data: Tensor | None = None
    log_base: Callable[[Tensor], Tensor] | None = None

    @property
    def event(self) -> torch.Size:
        """The shape of a state."""
        return self.x.shape[1:]

    @property
    def solved(self) -> bool:
        """Whether the map is a solution of the field, and nothing else."""
        return isinstance(self.X, SolutionOperator)

    def first(self, n: int) -> Self:
        """The first `n` states with their conditions."""
        return self.rows(torch.arange(min(n, len(self.x)), device=self.x.device))

    def rows(self, rows: Tensor) -> Self:
        """Some of the states with their conditions, each as often as it is named."""
        return replace(self, X=self.X.subset(rows), b=self.b.subset(rows), x=self.x[rows])

    def times(self, k: int) -> Tensor:
        """The ends of `k` equal steps over the horizon, `[k + 1]`."""
        start, end = self.horizon
        return torch.linspace(start, end, k + 1, dtype=self.x.dtype, device=self.x.device)

    def truth(self) -> SolutionOperator:
        """The flow of the field, by a solver; samples that cannot be solved are NaN."""
        return SolutionOperator(self.b, on_failure="nan")

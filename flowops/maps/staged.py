r"""A map whose later part was learned before: the stages of truncated training, put together."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import number, per_event
from flowops._types import State, TimeLike, Times
from flowops.maps.flow_map import FlowMap


class StagedMap(FlowMap):
    r"""$X_{s,t}(x)$ from start times $s<\tau$, and $X^1_{s,t}(x)$ of the stage before from $s\ge\tau$.

    It is the flow map for every end time for which $X$ is one from $s<\tau$ and $X^1$ from $s\ge\tau$; values and
    derivatives in $t$ and $x$ are those of the one that is called. Samples go through both maps.

    Args:
        X: the map of the last stage.
        first: $X^1$, that of the stage before.
        at: $\tau$, in [0, 1].

    Raises:
        ValueError: for another time.

    Cost: one call of each. Source: truncated consistency models, Lee et al. 2410.14895, whose time runs from the data:
    its $t'$ is the noise level at our $\tau$.
    """

    def __init__(self, X: FlowMap, first: FlowMap, at: float) -> None:
        super().__init__()
        self.X, self.first, self.at = X, first, number(at, "at")
        if not 0 <= self.at <= 1:
            raise ValueError(f"`at` must lie in [0, 1], got {at}; pass the time at which the stages meet.")

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self._chosen(s, self.X(s, t, x), self.first(s, t, x))

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$v_{s,t}(x)$ of the map that is called. Cost: that of both."""
        s, t = self._operands(s, t, x)
        return self._chosen(s, self.X.average_velocity(s, t, x), self.first.average_velocity(s, t, x))

    def _diagonal(self, t: Times, x: State) -> State:
        return self._chosen(t, self.X.velocity()(t, x), self.first.velocity()(t, x))

    def _chosen(self, s: Times, later: State, earlier: State) -> State:
        return torch.where(per_event(s < self.at, later), later, earlier)

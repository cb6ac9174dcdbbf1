"""A flow map made of equal steps of another one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._types import State, Times
from flowops.maps import FlowMap


class EqualSteps(FlowMap):
    r"""$X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1}(x)$ with $t_j=s+\tfrac jk(t-s)$, as one map.

    It is a flow map where $X$ is one. Of a method for equations it is the method with $k$ steps, of a learned map the
    sampler with $k$ calls.

    Args:
        X: the map of one step.
        steps: $k$.

    Raises:
        ValueError: for a number below 1.

    >>> X = FlowMap.from_function(lambda s, t, x: x * (1 + t - s)[:, None])  # Euler's step along x
    >>> EqualSteps(X, 2)(0.0, 1.0, torch.ones(1, 1))
    tensor([[2.2500]])

    Cost: $k$ calls of `X`. Source: 2505.18825 (multi-step sampling).
    """

    def __init__(self, X: FlowMap, steps: int) -> None:
        super().__init__()
        self.X, self.steps = X, whole(steps, "steps")

    def forward(self, s: Times, t: Times, x: State) -> State:
        for start, end in self._steps(s, t):
            x = self.X(start, end, x)
        return x

    def stops(self, s: Times, t: Times, x: State) -> Tensor:
        r"""The states at $t_0,\dots,t_k$, `[k + 1, batch, *event]`."""
        return self.X.compose([s, *(end for _, end in self._steps(s, t))], x, trajectory=True)

    def _steps(self, s: Times, t: Times) -> Iterator[tuple[Times, Times]]:
        """The times of each step; the first and the last are those given, to the last bit."""
        places = [s, *(torch.lerp(s, t, j / self.steps) for j in range(1, self.steps)), t]
        return zip(places[:-1], places[1:], strict=True)

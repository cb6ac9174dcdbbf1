"""A flow map whose parameters are constants."""

from __future__ import annotations

from flowops._derivatives import call_with_constants
from flowops._types import State, Times
from flowops.maps.flow_map import FlowMap


class FrozenMap(FlowMap):
    r"""$X_{s,t}$ with its parameters taken as constants: gradients pass through $s$, $t$ and $x$ only."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, s: Times, t: Times, x: State) -> State:
        return call_with_constants(self.X, s, t, x)

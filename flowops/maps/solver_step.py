"""One step of an explicit one-step method, which unlike a `SolutionOperator` compiles into the loss."""

from __future__ import annotations

from torch import Tensor

from flowops._solvers.fixed import TABLEAUS, integrate_fixed
from flowops._types import State, Times
from flowops.fields import VelocityField
from flowops.maps.flow_map import FlowMap


class SolverStep(FlowMap):
    r"""$x+(t-s)\sum_ib_ik_i$, one step of `method` from $s$ to $t$ along the field $b$; one of `TABLEAUS`.

    Raises:
        ValueError: for another method.
    """

    def __init__(self, b: VelocityField, method: str) -> None:
        super().__init__()
        if method not in TABLEAUS:
            raise ValueError(f'`method` must be one of {", ".join(TABLEAUS)}, got "{method}"; pass one of them.')
        self.b, self.method = b, method

    def forward(self, s: Times, t: Times, x: State) -> State:
        def slope(tau: Tensor, y: Tensor) -> Tensor:
            return self.b(tau, y.reshape(x.shape)).reshape(y.shape)

        flat = x.reshape(len(x), x.shape[1:].numel())
        return integrate_fixed(slope, flat, s, t, TABLEAUS[self.method], 1).reshape(x.shape)

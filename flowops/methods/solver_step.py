"""One step of an explicit one-step method, which unlike a `SolutionOperator` compiles into the loss."""

from __future__ import annotations

from torch import Tensor

from flowops._solvers.fixed import TABLEAUS, integrate_fixed
from flowops.fields import VelocityField
from flowops.maps import FlowMap


class SolverStep(FlowMap):
    r"""$x+(t-s)\sum_ib_ik_i$, one step of `method` from $s$ to $t$ along the field $b$; one of `TABLEAUS`."""

    def __init__(self, b: VelocityField, method: str) -> None:
        super().__init__()
        self.b, self.method = b, method

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        def slope(tau: Tensor, y: Tensor) -> Tensor:
            return self.b(tau, y.reshape(x.shape)).reshape(len(x), -1)

        return integrate_fixed(slope, x.reshape(len(x), -1), s, t, TABLEAUS[self.method], 1).reshape(x.shape)

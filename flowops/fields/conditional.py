"""The velocity of an interpolant along given pairs."""

from __future__ import annotations

from torch import Tensor

from flowops._types import State, Times
from flowops.fields.velocity_field import VelocityField
from flowops.interpolants import Interpolant


class ConditionalVelocity(VelocityField):
    r"""$\dot I_t(x_0,x_1)$ as a field that ignores its state: right only at $x=I_t(x_0,x_1)$."""

    def __init__(self, interpolant: Interpolant, x0: Tensor, x1: Tensor, z: Tensor | None) -> None:
        super().__init__()
        self.interpolant, self.x0, self.x1, self.z = interpolant, x0, x1, z

    def forward(self, t: Times, x: State) -> State:
        return self.interpolant.combination("derivative", t, self.x0, self.x1, self.z)

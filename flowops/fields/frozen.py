"""Fields through which no gradient flows: to their parameters, or at all."""

from __future__ import annotations

import torch

from flowops._derivatives import call_with_constants
from flowops._types import State, Times
from flowops.fields.velocity_field import VelocityField


class FrozenField(VelocityField):
    r"""$b_t$ with its parameters taken as constants: gradients pass through $t$ and $x$ only."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, t: Times, x: State) -> State:
        return call_with_constants(self.b, t, x)


class StoppedField(VelocityField):
    r"""$\mathrm{sg}\,b_t(\mathrm{sg}\,x)$: values without a graph."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, t: Times, x: State) -> State:
        with torch.no_grad():
            return self.b(t.detach(), x.detach()).detach()

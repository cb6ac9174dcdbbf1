r"""Guidance as an operation on flow maps."""

from __future__ import annotations

from typing import ClassVar

from flowops._types import State, Times
from flowops.maps.flow_map import FlowMap


class GuidedMap(FlowMap):
    r"""$X_{s,t}(x;\varnothing)+w\,(X_{s,t}(x;c)-X_{s,t}(x;\varnothing))$ of a map not trained with guidance.

    It has the guided field on its diagonal and is not the flow of it.

    Args:
        conditional: $X(\cdot;c)$; `given` conditions this one only.
        unconditional: $X(\cdot;\varnothing)$.
        scale: $w$.
    """

    _unconditioned: ClassVar[tuple[str, ...]] = ("unconditional",)

    def __init__(self, conditional: FlowMap, unconditional: FlowMap, scale: float) -> None:
        super().__init__()
        self.conditional, self.unconditional, self.scale = conditional, unconditional, scale

    def forward(self, s: Times, t: Times, x: State) -> State:
        plain = self.unconditional(s, t, x)
        return plain + self.scale * (self.conditional(s, t, x) - plain)

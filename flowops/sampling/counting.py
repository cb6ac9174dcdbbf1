"""Counting the evaluations of networks that a sampler spends, which is how samplers are compared."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from flowops._operator import Operator
from flowops._types import State, Times
from flowops.fields import VelocityField
from flowops.maps import FlowMap


@dataclass
class Count:
    """Evaluations so far, summed over samples; shared by an operator and what is made of it by `given`."""

    evaluations: int = 0


class CountedField(VelocityField):
    """The field `b`, counting in `count.evaluations` what every call costs: one per sample, two where it is guided."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b, self.count = b, Count()
        self.cost = leaves(b)

    def forward(self, t: Times, x: State) -> State:
        self.count.evaluations += self.cost * len(x)
        return self.b(t, x)


class CountedMap(FlowMap):
    """The map `X`, counting in `count.evaluations` one per sample and call for every operator it is made of."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X, self.count = X, Count()
        self.cost = leaves(X)

    def forward(self, s: Times, t: Times, x: State) -> State:
        self.count.evaluations += self.cost * len(x)
        return self.X(s, t, x)


def leaves(operator: nn.Module) -> int:
    """How many operators that hold no other one a call of `operator` reaches: 1 for a network, 2 for a guided field."""
    inside = sum(leaves(child) for child in operator._modules.values() if child is not None)
    return inside or int(isinstance(operator, Operator))


def per_sample(count: Count, x: Tensor) -> float:
    """Evaluations per sample of the states `x`."""
    return count.evaluations / len(x)

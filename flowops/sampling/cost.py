"""What samples cost: evaluations of the network, which is how samplers are compared, and how many go at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from flowops._arguments import whole
from flowops._operator import Operator
from flowops._types import State, Times
from flowops.fields import VelocityField
from flowops.maps import FlowMap

T = TypeVar("T", bound=Operator)

ELEMENTS = 2**21  # numbers in the states of a chunk: 682 images of 3 x 32 x 32, with which 57 M weights take 12 GB
MOST = 2**14  # samples of a chunk, where they are small and the layers of the network are not


@dataclass
class Count:
    """Evaluations so far; shared by an operator and what is made of it by `given`.

    Attributes:
        evaluations: summed over samples.
        sequential: calls, however many samples each had; one waits for the other.
    """

    evaluations: int = 0
    sequential: int = 0

    def add(self, cost: int, x: Tensor) -> None:
        """One more call."""
        self.evaluations += cost * len(x)
        self.sequential += 1


class CountedField(VelocityField):
    """The field `b`, counting in `count.evaluations` what every call costs: one per sample, two where it is guided."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b, self.count = b, Count()
        self.cost = leaves(b)

    def forward(self, t: Times, x: State) -> State:
        self.count.add(self.cost, x)
        return self.b(t, x)


class CountedMap(FlowMap):
    """The map `X`, counting in `count.evaluations` one per sample and call for every operator it is made of."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X, self.count = X, Count()
        self.cost = leaves(X)

    def forward(self, s: Times, t: Times, x: State) -> State:
        self.count.add(self.cost, x)
        return self.X(s, t, x)


def leaves(operator: nn.Module) -> int:
    """How many operators that hold no other one a call of `operator` reaches: 1 for a network, 2 for a guided field."""
    inside = sum(leaves(child) for child in operator._modules.values() if child is not None)
    return inside or int(isinstance(operator, Operator))


def per_sample(count: Count, x: Tensor) -> float:
    """Evaluations per sample of the states `x`."""
    return count.evaluations / len(x)


def chunk_size(event: Sequence[int], chunk: int | None = None) -> int:
    r"""Samples computed at once: `chunk`, or if None as many as hold $2^{21}$ numbers, from 1 to 16,384.

    Args:
        event: shape of a sample.
        chunk: the number that was asked for.

    Raises:
        ValueError: for a number below 1.
    """
    if chunk is not None:
        return whole(chunk, "chunk")
    return min(MOST, max(1, ELEMENTS // max(1, torch.Size(event).numel())))


def blocks(n: int, size: int, start: int = 0) -> Iterator[range]:
    """The numbers from `start` to `start + n`, at most `size` at a time."""
    for low in range(start, start + n, size):
        yield range(low, min(low + size, start + n))


def in_chunks(operator: T, x0: Tensor, chunk: int | None) -> Iterator[tuple[T, Tensor, int]]:
    """The operator on the conditions of a chunk of the samples `x0`, these samples, and the number of the first.

    Raises:
        ValueError: for a chunk without samples, and conditions of another number of samples.
    """
    size = chunk_size(x0.shape[1:], chunk)
    if len(x0) <= size:
        yield operator, x0, 0
        return
    operator.check_conditions(x0)
    for block in blocks(len(x0), size):
        rows = torch.arange(block.start, block.stop, device=x0.device)
        yield operator.subset(rows), x0[rows], block.start

"""The two ways image networks are built: with group normalization, or preserving magnitudes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from flowops.networks.blocks import plain, preserving
from flowops.networks.layers import linear

Gain: TypeAlias = Tensor | float


@dataclass(frozen=True)
class Style:
    """The parts that differ; all are functions or classes, so that a network can be copied."""

    block: Callable[..., nn.Module]
    first: Callable[..., nn.Module]
    last: Callable[..., nn.Module]
    linear: Callable[[int, int, torch.Generator | None], nn.Module]
    activation: Callable[[Tensor], Tensor]
    vectors: Callable[[Tensor], Tensor]
    joined: Callable[[Tensor, Tensor], Tensor]
    total: Callable[[Sequence[tuple[Gain, Tensor]]], Tensor]


PLAIN = Style(
    block=plain.Block,
    first=plain.First,
    last=plain.Last,
    linear=linear,
    activation=plain.activation,
    vectors=plain.vectors,
    joined=plain.joined,
    total=plain.total,
)
PRESERVING = Style(
    block=preserving.Block,
    first=preserving.First,
    last=preserving.Last,
    linear=preserving.linear,
    activation=preserving.activation,
    vectors=preserving.vectors,
    joined=preserving.joined,
    total=preserving.total,
)

"""The two ways image networks are built: with group normalization, or preserving magnitudes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from flowops.networks import _plain, _preserving
from flowops.networks._layers import linear

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
    block=_plain.Block,
    first=_plain.First,
    last=_plain.Last,
    linear=linear,
    activation=_plain.activation,
    vectors=_plain.vectors,
    joined=_plain.joined,
    total=_plain.total,
)
PRESERVING = Style(
    block=_preserving.Block,
    first=_preserving.First,
    last=_preserving.Last,
    linear=_preserving.linear,
    activation=_preserving.activation,
    vectors=_preserving.vectors,
    joined=_preserving.joined,
    total=_preserving.total,
)

"""Layers with explicit randomness, and the checks of what networks are built from."""

from __future__ import annotations

import math

import torch
from torch import nn


def linear(inputs: int, outputs: int, generator: torch.Generator | None, scale: float = 1.0) -> nn.Linear:
    r"""A linear layer drawn from `generator`: entries uniform within `scale`$/\sqrt{\text{inputs}}$, or zero."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    _fill(layer, scale / math.sqrt(inputs), generator)
    return layer


def convolution(
    inputs: int, outputs: int, kernel: int, generator: torch.Generator | None, scale: float = 1.0
) -> nn.Conv2d:
    r"""A convolution that keeps the size of images, drawn like `linear`, with $\text{kernel}^2$ inputs per channel."""
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2)
    _fill(layer, scale / math.sqrt(inputs * kernel**2), generator)
    return layer


def _fill(layer: nn.Module, bound: float, generator: torch.Generator | None) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)


def positive(value: object, name: str) -> int:
    """A whole number of at least one."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be a positive integer, got {type(value).__name__}; pass 4, say.")
    if value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {value}; pass 4, say.")
    return value

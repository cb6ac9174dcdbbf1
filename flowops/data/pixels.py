"""Pictures as bytes and as states: 0..255 and [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """Bytes as states: `x / 127.5 - 1` in float32, any shape.

    Raises:
        TypeError: for anything but uint8.
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(f"`pixels` must be uint8, got {pixels.dtype}; floating pictures need no conversion.")
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """The nearest picture: `127.5 (x + 1)`, rounded and clamped to the range 0..255 of a picture, any shape.

    The exact inverse of `to_float`.

    Raises:
        TypeError: for a tensor without a floating dtype.
        ValueError: for values that are not finite, which no picture can show.
    """
    if not x.is_floating_point():
        raise TypeError(f"`x` must have a floating dtype, got {x.dtype}; bytes need no conversion.")
    if not bool(x.isfinite().all()):
        raise ValueError("`x` must be finite to become a picture, got nan or inf; look for where it was computed.")
    return x.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)

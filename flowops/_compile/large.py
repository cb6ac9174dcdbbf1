"""Matrices on a CPU for which a pass over memory counts."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

ENTRIES: Final = 2**16


def is_large_on_cpu(value: Tensor) -> bool:
    """Whether this is a large real matrix on a CPU, of a size that is known."""
    real = value.dtype in (torch.float32, torch.float64) and value.device.type == "cpu" and value.ndim == 2
    return real and all(isinstance(n, int) for n in value.shape) and value.shape.numel() >= ENTRIES

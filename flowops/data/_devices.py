"""Moving samples to the device that trains, without holding up the host."""

from __future__ import annotations

import torch
from torch import Tensor


def indexed(device: torch.device | str) -> torch.device:
    """The device with its index, "cuda" as "cuda:0", so that it equals that of the tensors on it."""
    return torch.empty(0, device=device).device


def moved(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`; to CUDA from page-locked memory, so that the host does not wait for the copy."""
    if values.device == device:
        return values
    if device.type == "cuda":
        return (values if values.is_pinned() else values.pin_memory()).to(device, non_blocking=True)
    return values.to(device)

"""The optimizers by name, from torch.optim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer, RAdam

from flowops.training.config import OptimizerConfig


def optimizer_of(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer of a configuration; its rate is set before every step."""
    shared: dict[str, Any] = {"lr": config.rate, "betas": (config.beta1, config.beta2)}
    if config.kind == "radam":
        return RAdam(parameters, **shared)
    if config.kind == "adamw":
        return AdamW(parameters, weight_decay=config.weight_decay, fused=True, **shared)
    return Adam(parameters, fused=True, **shared)

"""The state of a run on disk, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowops.runs import TrainConfig
from flowops.runs.checkpoint import load_checkpoint


def state_of(config: TrainConfig, step: int) -> dict[str, Tensor]:
    """Every tensor of a checkpoint: weights, averages, optimizer."""
    checkpoint = load_checkpoint(Path(config.out) / "checkpoints" / str(step))
    tensors = {f"weights.{name}": value for name, value in checkpoint.weights.items()}
    for average, values in checkpoint.averages.items():
        tensors |= {f"{average}.{name}": value for name, value in values.items()}
    optimizer = checkpoint.state["optimizer"]
    for part, state in enumerate(optimizer.get("parts", [optimizer])):
        for k, held in state["state"].items():
            tensors |= {f"optimizer.{part}.{k}.{name}": value for name, value in held.items()}
    return tensors


def assert_same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """The same names and the same tensors."""
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different

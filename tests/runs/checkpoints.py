"""Checkpoints with known content, shared by the tests of reading and of writing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops.runs.saving import save_checkpoint
from tests.examples import normal

FILES = ["model.safetensors", "ema-0.999.safetensors", "ema-power-0.05.safetensors", "state.pt", "manifest.json"]


def tensors(seed: int) -> dict[str, Tensor]:
    """Weights of several dtypes."""
    return {
        "a.weight": normal(3, 2, seed=seed).float(),
        "b": torch.arange(4) + seed,
        "c": normal(2, seed=seed).bfloat16(),
    }


def save(folder: Path, step: int, **options: Any) -> Path:
    """Write a checkpoint in which anything can be changed; its folder."""
    content: dict[str, Any] = {
        "weights": tensors(step),
        "averages": {"0.999": tensors(step + 1), "power-0.05": tensors(step + 2)},
        "state": {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, None)}, "skipped": step},
        "keep": None,
    }
    save_checkpoint(folder, step, **{**content, **options})
    return folder / str(step)


def steps_in(folder: Path) -> list[int]:
    """The steps whose checkpoints are there."""
    return sorted(int(path.name) for path in folder.iterdir())

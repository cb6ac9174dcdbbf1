"""Small models of diffusers, made by the library itself, and folders of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers")


def unet(seed: int = 0, **options: Any) -> Any:
    """A `UNet2DModel` of 8x8 images of one channel, with attention."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (4, 8),
        "norm_num_groups": 2,
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return diffusers.UNet2DModel(**{**shape, **options}).eval()


def transformer(seed: int = 0, **options: Any) -> Any:
    """A `DiTTransformer2DModel` of 8x8 images of one channel and ten classes."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": 1,
        "num_layers": 2,
        "sample_size": 8,
        "patch_size": 2,
        "num_embeds_ada_norm": 10,
    }
    return diffusers.DiTTransformer2DModel(**{**shape, **options}).eval()


def saved(path: Path, model: Any, scheduler: Any) -> Path:
    """The folder of a pipeline of both."""
    model.save_pretrained(path / ("unet" if isinstance(model, diffusers.UNet2DModel) else "transformer"))
    scheduler.save_pretrained(path / "scheduler")
    return path

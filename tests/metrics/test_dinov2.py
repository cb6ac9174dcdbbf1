"""DINOv2's features: the network of transformers with the same weights, the pixels of Pillow, the grid of positions."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from flowops.metrics import dinov2, open_extractor

TIMM = "timm.models.vision_transformer"
pytest.importorskip(TIMM, reason="timm is not installed")
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3}
SIDE = 518 // 14  # patches along the images that the weights were trained on last
IMAGES = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def published(size: dict[str, int]) -> dict[str, Tensor]:
    """Tensors with the names and shapes of the file, for a network of that size, where torch puts them."""
    transformers: Any = import_module(TIMM)
    network = transformers.VisionTransformer(img_size=518, patch_size=14, num_classes=0, init_values=1.0, **size)
    state: dict[str, Tensor] = network.state_dict()
    return state | {"mask_token": torch.zeros(1, size["embed_dim"])}


def drawn() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=source) / max(1, value[0].numel()) ** 0.5
        for name, value in published(SMALL).items()
    }


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small weights that stand for the published ones."""
    path = tmp_path / "drawn.pth"
    torch.save(drawn(), path)
    own = replace(dinov2.WEIGHTS, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(dinov2, "WEIGHTS", own)
    monkeypatch.setattr(dinov2, "SIZE", SMALL)
    return path


def of_transformers(state: dict[str, Tensor]) -> nn.Module:
    """Another implementation with the same weights, and the positions of 224 pixels."""
    library: Any = pytest.importorskip("transformers")
    config = library.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=224, patch_size=14
    )
    network: nn.Module = library.Dinov2Model(config)
    names = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "norm.": "layernorm.",
    }
    inner = {
        "attn.proj.": "attention.o_proj.",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    found = {"embeddings.position_embeddings": dinov2.positions(state["pos_embed"])}
    for name, value in state.items():
        if name.startswith("blocks."):
            _, block, rest = name.split(".", 2)
            here = f"encoder.layer.{block}."
            if rest.startswith("attn.qkv."):
                kind = rest.rpartition(".")[2]
                for part, own in zip("qkv", value.chunk(3), strict=True):
                    found[f"{here}attention.{part}_proj.{kind}"] = own
                continue
            for old, new in inner.items():
                rest = rest.replace(old, new)
            found[here + rest] = value
        elif name != "pos_embed":
            old = next(start for start in names if name.startswith(start))
            found[name.replace(old, names[old])] = value
    network.load_state_dict(found)
    return network.eval()


def test_features_are_those_of_transformers(file: Path) -> None:
    extractor = open_extractor("dinov2", file)
    features = extractor(IMAGES)
    assert features.shape == (2, 24)
    assert not torch.equal(features[0], features[1])
    with torch.no_grad():
        other = of_transformers(drawn())(dinov2.prepared(IMAGES)).last_hidden_state[:, 0]
    assert_close(features, other, rtol=1e-4, atol=1e-5)
    torch.save(drawn() | {"norm.bias": torch.ones(24)}, file)
    with pytest.raises(ValueError, match="with SHA-256"):
        open_extractor("dinov2", file)


def test_pixels_are_those_of_pillow_but_for_its_bytes() -> None:
    """It rounds after either axis, by half a byte each, and the second pass weighs the first by at most 1.25."""
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (dinov2.MEAN, dinov2.DEVIATION))
    pale = IMAGES // 3 + 85  # nothing overshoots, which Pillow would cut off
    for image, own in zip(pale, dinov2.prepared(pale), strict=True):
        resized = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC)
        of_pillow = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        unrounded = (own * deviation + mean) * 255
        assert (unrounded - of_pillow).abs().max() < 0.5 + 0.5 * 1.25 + 0.01
        assert (unrounded - of_pillow).abs().mean() < 0.5


def test_colours_are_whitened_by_those_of_imagenet() -> None:
    assert_close(dinov2.prepared(torch.zeros(1, 3, 5, 7, dtype=torch.uint8))[0, :, 3, 3] * 0.225, -torch.tensor(
        [0.485 * 0.225 / 0.229, 0.456 * 0.225 / 0.224, 0.406]
    ))  # fmt: skip
    assert dinov2.prepared(IMAGES[..., :20]).shape == (2, 3, 224, 224)


def test_positions_are_read_on_a_grid_of_sixteen_and_a_tenth() -> None:
    """Keys' cubic with a = -3/4, as torch's, adds f(1-f)(1-2f)/2 to a line, f being the part behind the comma."""
    row = torch.arange(SIDE, dtype=torch.float64)
    table = torch.stack((row[:, None].expand(SIDE, SIDE), row.expand(SIDE, SIDE)), -1).reshape(1, SIDE**2, 2)
    token = torch.full((1, 1, 2), 7.0, dtype=torch.float64)
    moved = dinov2.positions(torch.cat((token, table), 1))
    assert_close(moved[:, :1], token)
    grid = moved[0, 1:].reshape(16, 16, 2)
    at = ((torch.arange(16, dtype=torch.float64) + 0.5) * SIDE / 16.1 - 0.5)[1:-1]  # the outer ones reach over the edge
    f = at.frac()
    line = at + f * (1 - f) * (1 - 2 * f) / 2
    assert_close(grid[1:-1, :, 0], line[:, None].expand(14, 16))
    assert_close(grid[:, 1:-1, 1], line.expand(16, 14))


def test_the_network_is_of_the_published_size() -> None:
    """The authors' ViT-L/14 has 304,368,640 numbers with the positions of 518 pixels; the file has 4 bytes for each."""
    with torch.device("meta"):
        state = published(dinov2.SIZE)
        assert sum(value.numel() for value in state.values()) == 304_368_640
        assert 0 < 1_217_586_395 - 4 * 304_368_640 < 512 * len(state)
        network = dinov2._network(import_module(TIMM), state)
    fewer = (SIDE**2 - 16**2) * 1024
    assert sum(value.numel() for value in network.state_dict().values()) == 304_368_640 - fewer - 1024

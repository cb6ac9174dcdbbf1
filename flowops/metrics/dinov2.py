r"""The network of FD-DINOv2: the 1024 features of DINOv2's ViT-L/14 with the published weights.

The Fréchet distance of these features follows people's judgement where the FID does not (Stein et al. 2306.04675,
whose protocol is followed): 224 x 224 pixels, bicubic, colours of ImageNet, the class token behind the last
normalization. timm has the network. Its positions are those of 37 x 37 patches, brought to 16 x 16 as the authors of
DINOv2 bring them, not as timm would: bicubic, without antialiasing, on a grid of 16.1 steps. Pixels are resized by
torch, with antialiasing and without rounding to bytes between, as EDM2 does; Pillow, which the protocol was written
with, rounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from flowops._named import require
from flowops.metrics._published import Published
from flowops.metrics.extractor import Extractor

NAME: Final = "dinov2-vitl14-224-bicubic"
WEIGHTS = Published(
    "DINOv2",
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    "1.2 GB",
)
SIDE: Final = 224
PATCH: Final = 14
OFFSET: Final = 0.1  # of the authors, against rounding in the number of patches; it moves every position a little
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours of ImageNet
SIZE: dict[str, int] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}


def dinov2_extractor(weights: Path | str | None = None, *, device: torch.device | str = "cpu") -> Extractor:
    """The class token behind the last normalization, of images with three channels and any size.

    Args:
        weights: the file; None to look for it where torch keeps downloads.
        device: where the network runs.

    Raises:
        FileNotFoundError: if there is no such file; the message says what to download.
        ValueError: if it is another file than the published one.
        ImportError: without timm.

    Cost: some 160 GFLOP an image.
    Source: Oquab et al. 2304.07193; Stein et al. 2306.04675.
    """
    transformers = require("timm.models.vision_transformer", "metrics")
    state = torch.load(WEIGHTS.find(weights), weights_only=True, map_location="cpu")
    network = _network(transformers, state).to(device)

    def function(images: Tensor) -> Tensor:
        WEIGHTS.check_colours(images)
        features: Tensor = network(prepared(images))
        return features

    return Extractor(NAME, function, SIZE["embed_dim"], f"{WEIGHTS.file}, timm", device)


def prepared(images: Tensor) -> Tensor:
    """Bytes `[n, 3, height, width]` as the network takes them, float32 `[n, 3, 224, 224]`."""
    sized = F.interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=True) / 255
    mean, deviation = (sized.new_tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    return (sized - mean) / deviation


def positions(table: Tensor) -> Tensor:
    """The vectors `[1, 1 + n * n, width]` of a class token and a square of patches, for those of `SIDE` pixels."""
    token, patches = table[:, :1], table[:, 1:]
    side, wanted = round(patches.shape[1] ** 0.5), SIDE // PATCH
    grid = patches.unflatten(1, (side, side)).movedim(-1, 1)
    ratio = (wanted + OFFSET) / side
    moved = F.interpolate(grid, scale_factor=(ratio, ratio), mode="bicubic")
    return torch.cat((token, moved.flatten(2).mT), 1)


def _network(transformers: Any, state: dict[str, Tensor]) -> torch.nn.Module:
    network: torch.nn.Module = transformers.VisionTransformer(
        img_size=SIDE, patch_size=PATCH, num_classes=0, init_values=1e-5, **SIZE
    )
    drawn = state | {"pos_embed": positions(state["pos_embed"])}
    drawn.pop("mask_token")  # of the training, where patches are hidden
    network.load_state_dict(drawn)
    return network.eval().requires_grad_(False)

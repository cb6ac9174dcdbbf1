r"""Features of images whose squared distance is LPIPS, by the package that publishes its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowops._named import require

NAME = "lpips"
SIDE = 224  # of the images that its networks were trained on


class LearnedFeatures(nn.Module):
    r"""$x\mapsto(\sqrt{w_l}\,\hat\varphi_l(x))_l$ with the layers and the learned weights of LPIPS, for `Perceptual`.

    $\hat\varphi_l$ are the features of a network of classes, of unit length over the channels; the sum over $l$ of the
    mean squared distances of these is LPIPS. States are images in $[-1,1]$, `[batch, 1 or 3, height, width]`; smaller
    ones than `side` are enlarged to it, as consistency models do it. Nothing is trained.

    Args:
        network: "vgg", "alex" or "squeeze"; papers of consistency models take the first.
        side: the side to which smaller images are enlarged; None to leave them.
        pretrained: whether the network has its published weights, which torchvision downloads when it has none; False
            for random ones, with which nothing is measured.

    Raises:
        ImportError: without the package `lpips`; the message names the extra.
        ValueError: when it is called, for states that are no images.

    Cost: a call of the network for each side. Source: Zhang et al. 1801.03924 (1).
    """

    def __init__(self, network: str = "vgg", side: int | None = SIDE, *, pretrained: bool = True) -> None:
        super().__init__()
        package: Any = require(NAME, NAME)
        self.inner = package.LPIPS(net=network, pnet_rand=not pretrained, verbose=False).eval().requires_grad_(False)
        self.side = side

    def forward(self, x: Tensor) -> list[Tensor]:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(
                f"`x` must be images of 1 or 3 channels for LPIPS, got states of shape {list(x.shape[1:])}; take "
                f"another norm, or Perceptual(network) with features of your own."
            )
        weight = self.inner.lins[0].model[-1].weight
        x = x.to(weight.dtype).expand(-1, 3, -1, -1)
        if self.side is not None and min(x.shape[2:]) < self.side:
            x = nn.functional.interpolate(x, (self.side, self.side), mode="bilinear")
        found = self.inner.net(self.inner.scaling_layer(x))
        return [self._weighted(f, layer) for f, layer in zip(found, self.inner.lins, strict=True)]

    @staticmethod
    def _weighted(features: Tensor, layer: Any) -> Tensor:
        length = features.square().sum(1, keepdim=True)
        unit = features / (torch.where(length > 0, length, 1).sqrt() + 1e-10)  # no gradient of a root at zero
        root: Tensor = layer.model[-1].weight.clamp(min=0).sqrt()
        return unit * root

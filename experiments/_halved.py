"""Images of half the side: each pixel the mean of four; and features of them, as if they were of the whole side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from experiments.cifar10_features import extractor
from flowops.data import Images, open_dataset
from flowops.data.images import Split, fingerprint
from flowops.metrics import Extractor


def halved(path: Path | str) -> Images:
    """The images of a folder or an archive, halved; every split, labels kept. `experiments._halved:halved` names it.

    Raises:
        ValueError: for images of an odd side.
    """
    whole = open_dataset(f"folder:{path}")
    if not isinstance(whole, Images) or any(side % 2 for side in whole.event[-2:]):
        raise ValueError(f"`path` must hold images of even sides, got {list(whole.event)}; choose others.")
    splits = {name: Split(_halved(whole.pixels(name)), whole.splits[name].labels) for name in whole.splits}
    name = f"{whole.name}, halved"
    return Images(
        name, splits, classes=whole.classes, flips=whole.flips, provenance=f"{name}: {fingerprint(splits)}"
    )  # fmt: skip


def doubled(device: torch.device | str = "cpu") -> Extractor:
    """The features of `experiments.cifar10_features`, of images whose pixels are repeated twice each way."""
    whole = extractor(device=device)
    return replace(whole, name=f"{whole.name}, doubled", function=lambda images: whole.function(_doubled(images)))


def _halved(images: Tensor) -> Tensor:
    """Bytes, rounded to the nearest."""
    n, channels, height, width = images.shape
    parts = images.reshape(n, channels, height // 2, 2, width // 2, 2)
    sums = sum(parts[:, :, :, i, :, j].short() for i in (0, 1) for j in (0, 1))
    return torch.as_tensor((sums + 2) // 4).to(torch.uint8)


def _doubled(images: Tensor) -> Tensor:
    return images.repeat_interleave(2, -1).repeat_interleave(2, -2)

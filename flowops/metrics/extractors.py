"""The features of images by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops._named import Registry
from flowops._operator import takes
from flowops.metrics import dinov2, inception
from flowops.metrics.dinov2 import dinov2_extractor
from flowops.metrics.extractor import Extractor
from flowops.metrics.inception import inception_extractor


def _pixels(*, device: torch.device | str = "cpu") -> Extractor:
    exact = "cpu" if torch.device(device).type == "mps" else device  # which has no float64
    return Extractor("pixels", _bytes, note="bytes / 255", device=exact)


def _bytes(images: Tensor) -> Tensor:
    return images.flatten(1).double() / 255


EXTRACTORS: Registry[Extractor] = Registry(
    "features",
    Extractor,
    {"pixels": _pixels, "inception": inception_extractor, "dinov2": dinov2_extractor},
    passed=("weights", "device"),
)
"""By name."""

FRECHET = {inception.NAME: "FID", dinov2.NAME: "FD-DINOv2"}
"""What the Fréchet distance of these features alone is called."""


def open_extractor(
    name: str | Extractor, weights: Path | str | None = None, *, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of that name.

    * `pixels`: the bytes themselves divided by 255, in float64; exact, without weights, for small images.
    * `inception`: the 2048 features of the Inception network of the FID; its published weights are needed.
    * `dinov2`: the 1024 features of DINOv2's ViT-L/14 on 224 x 224 pixels; its published weights are needed.
    * `package.module:factory`: what your own function returns; it may take `weights` and a `device`.

    Args:
        name: one of these, or an extractor.
        weights: file of the weights, for `inception`, `dinov2` and a factory that takes them.
        device: where the features are computed.

    Raises:
        ValueError: for another name.
        TypeError: for a factory that returns no `Extractor`.
        OSError: if a file cannot be read.
        ImportError: if a package is missing.
    """
    if weights is not None and (isinstance(name, Extractor) or not takes(EXTRACTORS.factory(name), "weights")):
        raise ValueError(f"`weights` must be left out for {name!r}, which takes none, got {str(weights)!r}; drop it.")
    given: dict[str, Any] = {} if weights is None else {"weights": weights}
    return EXTRACTORS.make(name, **given, device=device)

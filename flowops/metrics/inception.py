"""The Inception network of the FID: its 2048 features, with the published weights and nothing else under its name.

torch-fidelity's port is used, resizing included, which is that of the original code (TensorFlow 1, bilinear, not
antialiased); torchmetrics resizes the same network's input otherwise by default. Nothing is downloaded here.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from flowops._named import require
from flowops.metrics._published import Published
from flowops.metrics.extractor import Extractor

NAME: Final = "inception-2015-12-05"
WEIGHTS = Published(
    "Inception",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "96 MB",
)


def inception_extractor(weights: Path | str | None = None, *, device: torch.device | str = "cpu") -> Extractor:
    """The features before the last layer, of images with three channels and any size.

    Args:
        weights: the file; None to look for it where torch keeps downloads.
        device: where the network runs.

    Raises:
        FileNotFoundError: if there is no such file; the message says what to download.
        ValueError: if it is another file than the published one.
        ImportError: without torch-fidelity.
    """
    fidelity = require("torch_fidelity.feature_extractor_inceptionv3", "metrics")
    path = WEIGHTS.find(weights)
    network = fidelity.FeatureExtractorInceptionV3("inception", ["2048"], _reread(path)).to(device)

    def function(images: Tensor) -> Tensor:
        WEIGHTS.check_colours(images)
        features: Tensor = network(images)[0]
        return features

    return Extractor(NAME, function, 2048, f"{WEIGHTS.file}, torch-fidelity", device)


def _reread(path: Path) -> io.BytesIO:
    """The tensors of the file, written anew: torch-fidelity unpickles what it is given, here only what we wrote."""
    buffer = io.BytesIO()
    torch.save(torch.load(path, weights_only=True, map_location="cpu"), buffer)
    buffer.seek(0)
    return buffer

"""Handwritten digits of 8 x 8 pixels, which scikit-learn brings along: real images without a download."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from flowops._named import require
from flowops.data.images import Images, Split, fingerprint

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "steps": 2_600,
        "batch": 256,
        "averages": (0.995, 0.999),
        "checkpoint_every": 650,
        "network.kind": "mlp",
        "network.options": ("width=256", "depth=4"),
        "network.parameterization": "edm",
        "network.parameterization_options": ("sigma_data=0.85",),
        "optimizer.kind": "muon",
        "optimizer.schedule": "linear",
        "options.lsd": ("eta=0.5", "law=InsideSteps(3)"),
    }
)
"""Two minutes on a CPU; 0.85 is the root mean square of a pixel. Found by `python -m experiments.digits_search`."""


def digits() -> Images:
    r"""The 1797 digits of UCI ML in ten classes, event `[1, 8, 8]`, 1498 to train on and 299 to test.

    The 17 grey levels $v$ become the bytes $\lfloor255v/16+1/2\rfloor$. Every sixth digit of scikit-learn's order (rows
    5, 11, 17, ...) is a test sample, so that both splits hold all classes and writers. Nothing is mirrored.

    Raises:
        ImportError: without scikit-learn.
    """
    pixels, labels = map(torch.from_numpy, _read())
    test = torch.arange(len(pixels)) % 6 == 5
    splits = {"train": Split(pixels[~test], labels[~test]), "test": Split(pixels[test], labels[test])}
    return Images(
        "digits",
        splits,
        defaults=DEFAULTS,
        classes=tuple("0123456789"),
        provenance=f"digits: UCI ML digits from scikit-learn, 1498 train and 299 test samples, {fingerprint(splits)}",
    )


@functools.cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    """All bytes `[1797, 1, 8, 8]` and classes, in scikit-learn's order; it parses a text, once a process."""
    found = require("sklearn.datasets", "images").load_digits()
    levels = np.asarray(found.images)
    pixels = ((levels.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    return pixels[:, None], np.asarray(found.target, dtype=np.int64)

"""What a training step gets from a data set."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Samples with their labels, and with their base samples where the set is a set of pairs.

    Attributes:
        x0: base samples, `[n, *event]` float32, or None: then the training pairs the data with standard normal
            noise of its own.
        x1: data samples, `[n, *event]` float32; images lie in [-1, 1].
        labels: `[n]` int64, or None.
    """

    x0: Tensor | None
    x1: Tensor
    labels: Tensor | None

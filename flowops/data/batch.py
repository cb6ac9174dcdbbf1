"""What a training step gets from a data set."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from flowops._keys import rows_of


class Batch(NamedTuple):
    """Samples with their labels, and with their base samples where the set is a set of pairs.

    Attributes:
        x0: base samples, `[n, *event]` float32, or None: then the training pairs the data with standard normal
            noise of its own.
        x1: data samples, `[n, *event]` float32; images lie in [-1, 1].
        labels: classes `[n]` int64, or conditions `[n, *condition]` float32 with values of any shape, or None.
    """

    x0: Tensor | None
    x1: Tensor
    labels: Tensor | None

    def part(self, k: int, n: int) -> Batch:
        r"""Rows $k,k+n,k+2n,\dots$, copied, so that the others need not stay in memory.

        Raises:
            ValueError: unless `n` divides the batch and `0 <= k < n`.
        """
        own = rows_of(len(self.x1), (k, n))
        return Batch(*(None if value is None else value[own].contiguous() for value in self))  # type: ignore[arg-type]

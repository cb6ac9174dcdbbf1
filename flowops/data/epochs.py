"""The order of a finite set: an endless concatenation of permutations, one per epoch, in which a step is a window."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from flowops._keys import generator
from flowops.data._checks import check_draw


def rows(size: int, step: int, n: int, seed: int) -> Tensor:
    r"""The rows of step `step`, `[n]` int64 on the CPU.

    With $\pi_e$ the permutation of epoch $e$ and $N$ = `size`, row $i$ is $\pi_{\lfloor q/N\rfloor}(q\bmod N)$ for
    $q=n\cdot\text{step}+i$: every sample occurs once per epoch, and a batch may straddle epochs, or hold several.

    Cost: one permutation per epoch, kept for the steps that follow.
    """
    check_draw(step, n)
    parts, start, end = [], step * n, step * n + n
    while start < end:
        epoch, first = divmod(start, size)
        last = min(size, first + end - start)
        parts.append(permutation(size, "epoch", seed, epoch)[first:last])
        start += last - first
    return torch.cat(parts)


@lru_cache(maxsize=4)
def permutation(size: int, *parts: int | str) -> Tensor:
    """The permutation of `size` rows that the parts of a key stand for; shared, so not to be written to."""
    return torch.randperm(size, generator=generator(*parts))

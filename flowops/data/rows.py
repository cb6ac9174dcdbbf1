"""Which samples of a set are drawn, and how they come to the device that trains.

The order of a finite set is an endless concatenation of permutations, one per epoch, in which a step is a window.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._keys import generator, rows_of

_LOCKED = 1 << 28  # bytes of memory that are locked at once


def rows(size: int, step: int, n: int, seed: int, part: tuple[int, int] = (0, 1)) -> Tensor:
    r"""The rows of step `step`, int64 on the CPU: all `[n]`, or with `part` $=(k,W)$ every $W$-th from the $k$-th on.

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
    return torch.cat(parts)[rows_of(n, part)]


def chosen(n: int, size: int, split: str, seed: int, name: str) -> Tensor:
    """`n` different rows of a split of `size` samples, chosen by `seed`; `name` is that of the set, for errors."""
    if whole(n, "n") > size:
        raise ValueError(
            f"`n` must be at most the {size} samples that {name} has in its split {split!r}, got {n}; pass n={size}."
        )
    return permutation(size, "reference", split, seed)[:n]


@lru_cache(maxsize=4)
def permutation(size: int, *parts: int | str) -> Tensor:
    """The permutation of `size` rows that the parts of a key stand for; shared, so not to be written to."""
    return torch.randperm(size, generator=generator(*parts))


def check_draw(step: int, n: int) -> None:
    """Refuse steps and batch sizes that are none."""
    whole(step, "step", 0)
    whole(n, "n")


def indexed(device: torch.device | str) -> torch.device:
    """The device with its index, "cuda" as "cuda:0", so that it equals that of the tensors on it."""
    return torch.empty(0, device=device).device


def moved(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`; to CUDA from page-locked memory, so that the host does not wait for the copy."""
    if values.device == device:
        return values
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    if values.is_pinned() or values.nbytes <= _LOCKED:
        return (values if values.is_pinned() else values.pin_memory()).to(device, non_blocking=True)
    there = torch.empty_like(values, device=device)  # a mapped file, say, which shall not be locked as a whole
    rows = max(_LOCKED * len(values) // values.nbytes, 1)
    for target, source in zip(there.split(rows), values.split(rows), strict=True):
        target.copy_(source.pin_memory(), non_blocking=True)
    return there

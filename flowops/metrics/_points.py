"""Two samples as rows of points in float64, and means over pairs of their points, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowops._arguments import check_state

Kernel = Callable[[Tensor], Tensor]  # of distances, entry by entry
BLOCK = 1 << 22  # distances in memory at once, 32 MB
_DIRECT = 32  # coordinates up to which distances are summed directly; beyond, by matrix products, which cancel digits


def points(x: Tensor, y: Tensor, *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Both samples as `[n, d]` and `[m, d]` in float64.

    Raises:
        TypeError, ValueError: for samples of different events or devices, of fewer than `least` points, or not finite.
    """
    for name, value in (("x", x), ("y", y)):
        check_state(value, name)
        if len(value) < least:
            raise ValueError(f"`{name}` must have at least {least} samples, got {len(value)}; draw more.")
        if not bool(value.isfinite().all()):
            raise ValueError(f"`{name}` must be finite, got nan or inf; report how many are not, and drop those.")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"`y` must have the event of `x`, {list(x.shape[1:])}, got {list(y.shape[1:])}; reshape it.")
    if x.device != y.device:
        raise ValueError(f"`y` must be on the device of `x`, {x.device}, got {y.device}; pass y.to(x.device).")
    return x.reshape(len(x), -1).double(), y.reshape(len(y), -1).double()


def centered(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both samples less one point, which changes no distance and saves the digits of samples far from the origin."""
    center = y.detach().mean(0)
    return x - center, y - center


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances `[n, m]`."""
    direct = x.shape[1] <= _DIRECT
    return torch.cdist(x, y, compute_mode=f"{'donot_' if direct else ''}use_mm_for_euclid_dist")


def blocks(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The distances of some rows of `x` to all of `y`, with the number of the first row."""
    size = max(1, BLOCK // len(y))
    for start in range(0, len(x), size):
        yield start, distances(x[start : start + size], y)


def mean_over_pairs(kernel: Kernel, x: Tensor, y: Tensor) -> Tensor:
    r"""$\frac1{nm}\sum_{ij}k(|x_i-y_j|)$."""
    return sum((kernel(block).sum() for _, block in blocks(x, y)), x.new_zeros(())) / (len(x) * len(y))


def mean_over_distinct_pairs(kernel: Kernel, x: Tensor) -> Tensor:
    r"""$\frac1{n(n-1)}\sum_{i\ne j}k(|x_i-x_j|)$."""
    total = x.new_zeros(())
    for start, block in blocks(x, x):
        values = kernel(block)
        total = total + values.sum() - values.diagonal(start).sum()
    return total / (len(x) * (len(x) - 1))


def root(value: Tensor) -> Tensor:
    """The square root, with derivative 0 at 0, where it has none."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).sqrt(), 0.0)

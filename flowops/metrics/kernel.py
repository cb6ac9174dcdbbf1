r"""The kernel distance of two sets of features, which for Inception's features is known as KID.

$\mathrm{MMD}^2$ with the kernel $(f\cdot g/d+1)^3$, unbiased, averaged over subsets. Unlike the Fréchet distance it has
no bias that falls with the number of images, so that small sets can be judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._keys import generator as generator_of
from flowops.metrics._points import BLOCK, points


@dataclass(frozen=True)
class KernelDistance:
    """The mean of the estimates from subsets, and how uncertain it is.

    Attributes:
        mean: the distance; below zero by chance for equal laws.
        deviation: standard deviation over the subsets, which other programs print beside the mean.
        standard_error: standard error of the mean, for images drawn anew; see `kernel_distance`.
    """

    mean: float
    deviation: float
    standard_error: float


@torch.no_grad()
def kernel_distance(
    real: Tensor, fake: Tensor, *, subsets: int = 100, size: int = 1000, generator: torch.Generator | None = None
) -> KernelDistance:
    r"""The kernel distance between features `[n, d]` and `[m, d]`, as `Extractor.features` gives them.

    Subsets of `size` rows are drawn without replacement from either set. With $\sigma$ their deviation and
    $\varphi=\text{size}/\min(n,m)$ the standard error is $\sigma\sqrt{\varphi/(1-\varphi)+1/\text{subsets}}$: subsets
    of the same rows agree more than independent ones do, by $1-\varphi$ in the variance.

    Args:
        real: features of real images.
        fake: features of the images to be judged.
        subsets: how many.
        size: rows of each, fewer than there are.
        generator: where the subsets are drawn from; if None, always the same ones.

    Raises:
        TypeError, ValueError: for features that do not match, or numbers out of range.

    Cost: the kernel of all pairs of both sets, or of each subset where that is less; in float64, in blocks of rows.
    Source: Bińkowski et al. 1801.01401; the values are those of torchmetrics for the same subsets.
    """
    real, fake = points(real, fake, least=2)
    smaller = min(len(real), len(fake))
    whole(subsets, "subsets", 2)
    if not 2 <= whole(size, "size", 2) < smaller:
        raise ValueError(
            f"`size` must be at least 2 and below the {smaller} rows of the smaller set, got {size!r}; pass "
            f"size={max(2, smaller // 10)}, or more images."
        )
    source = generator_of("subsets") if generator is None else generator
    chosen = [tuple(_some(len(rows), size, source) for rows in (real, fake)) for _ in range(subsets)]
    own, other = (torch.stack(rows).to(real.device) for rows in zip(*chosen, strict=True))
    within = _sums(real, real, own, own, within=True) + _sums(fake, fake, other, other, within=True)
    values = within / (size * (size - 1)) - 2 * _sums(real, fake, own, other) / size**2
    deviation, share = values.std().item(), size / smaller
    error = deviation * math.sqrt(share / (1 - share) + 1 / subsets)
    return KernelDistance(values.mean().item(), deviation, error)


def _some(n: int, size: int, source: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=source, device=source.device)[:size]


def _sums(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor, *, within: bool = False) -> Tensor:
    """The sums of the kernel over pairs of a subset of `x` and one of `y`, `[subsets]`; `within` one set, of no twins.

    Subsets overlap: where all pairs of both sets are fewer than those of the subsets, each value is computed once, some
    rows of `x` at a time, and added to the sums of the subsets that have it.
    """
    if len(x) * len(y) >= rows.numel() * columns.shape[1]:
        each = (_cubic(x[i], y[j]) for i, j in zip(rows, columns, strict=True))
        return torch.stack([(values.fill_diagonal_(0) if within else values).sum() for values in each])
    having, of, total = _having(rows, len(x)), _having(columns, len(y)), x.new_zeros(len(rows))
    size = max(1, BLOCK // len(y))
    for start in range(0, len(x), size):
        some, first = slice(start, start + size), start if within else 0
        values = _cubic(x[some], y[first:])
        if within:  # the kernel is symmetric
            values = 2 * values.triu_(1)
        total += ((having[:, some] @ values) * of[:, first:]).sum(1)
    return total


def _having(index: Tensor, n: int) -> Tensor:
    """Which of `n` rows each subset has, as ones and zeros `[subsets, n]`."""
    return torch.zeros(len(index), n, dtype=torch.float64, device=index.device).scatter_(1, index, 1.0)


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3

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
from flowops.metrics._points import points


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
    values = torch.stack([_unbiased(*(_some(rows, size, source) for rows in (real, fake))) for _ in range(subsets)])
    deviation, share = values.std().item(), size / smaller
    error = deviation * math.sqrt(share / (1 - share) + 1 / subsets)
    return KernelDistance(values.mean().item(), deviation, error)


def _some(rows: Tensor, size: int, source: torch.Generator) -> Tensor:
    index = torch.randperm(len(rows), generator=source, device=source.device)[:size]
    return rows[index.to(rows.device)]


def _unbiased(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate for two sets of the same size."""
    n, d = x.shape
    within = (_cubic(x, x, d) + _cubic(y, y, d)).fill_diagonal_(0).sum() / (n * (n - 1))
    return within - 2 * _cubic(x, y, d).mean()


def _cubic(x: Tensor, y: Tensor, d: int) -> Tensor:
    return (x @ y.T / d + 1) ** 3

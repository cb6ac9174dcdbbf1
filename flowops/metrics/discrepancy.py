r"""Distances of two samples through means over pairs of their points: kernels (MMD), and the distance itself (energy).

For a kernel $k$ both are $\mathbb Ek(X,X')+\mathbb Ek(Y,Y')-2\,\mathbb Ek(X,Y)$, with the energy distance that of
$k(x,y)=-|x-y|$. Pairs of a point with itself are left out, so the estimates are unbiased: for samples of one law their
mean is 0, and about half of them are negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowops._arguments import number
from flowops.metrics._points import Kernel, centered, distances, mean_over_distinct_pairs, mean_over_pairs, points

_MEDIAN_OF = 1000  # points of each sample


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""$2\,\mathbb E|X-Y|-\mathbb E|X-X'|-\mathbb E|Y-Y'|$, unbiased: a 0-d float64 tensor.

    In one dimension it is $2\int(F-G)^2$; `scipy.stats.energy_distance` is the root of its biased estimate.

    Args:
        x: `[n, *event]`, at least two samples.
        y: `[m, *event]`, at least two samples.

    Raises:
        TypeError, ValueError: for samples that do not match, or are not finite, or too few.

    Cost: $(n+m)^2$ distances, in blocks; differentiable.
    Source: Székely and Rizzo 2013, Energy statistics.
    """
    x, y = centered(*points(x, y, least=2))
    return _discrepancy(torch.neg, x, y)


def maximum_mean_discrepancy(x: Tensor, y: Tensor, *, bandwidths: float | Sequence[float] | None = None) -> Tensor:
    r"""The unbiased estimate of $\mathrm{MMD}^2$, the root not taken: a 0-d float64 tensor.

    The kernel is the mean of $\exp(-|x-y|^2/2h^2)$ over the bandwidths $h$.

    Args:
        x: `[n, *event]`, at least two samples.
        y: `[m, *event]`, at least two samples.
        bandwidths: one or several $h$; give them to compare models. If None, the median distance between different
            points of both samples together (of at most 1,000 of each, evenly spaced), which depends on the samples.

    Raises:
        TypeError, ValueError: for samples that do not match, or are not finite, or too few, and for bandwidths that are
            not positive.

    Cost: $(n+m)^2$ distances, in blocks; differentiable, the median held fixed.
    Source: Gretton et al. 2012, A kernel two-sample test, eq. (3).
    """
    x, y = centered(*points(x, y, least=2))
    if bandwidths is None:
        widths = [_median_distance(x, y)]
    else:
        given = bandwidths if isinstance(bandwidths, Sequence) else [bandwidths]
        widths = [number(width, "bandwidths") for width in given]
    if not widths or min(widths) <= 0:
        raise ValueError(f"`bandwidths` must be positive, got {bandwidths}; pass the scale of the data's structure.")

    def gaussian(r: Tensor) -> Tensor:
        return torch.stack([torch.exp(-0.5 * (r / width).square()) for width in widths]).mean(0)

    return _discrepancy(gaussian, x, y)


def _discrepancy(kernel: Kernel, x: Tensor, y: Tensor) -> Tensor:
    within = mean_over_distinct_pairs(kernel, x) + mean_over_distinct_pairs(kernel, y)
    return within - 2 * mean_over_pairs(kernel, x, y)


@torch.no_grad()
def _median_distance(x: Tensor, y: Tensor) -> float:
    some = torch.cat([value[:: -(-len(value) // _MEDIAN_OF)] for value in (x, y)])
    n = len(some)
    above = torch.ones(n, n, dtype=torch.bool, device=some.device).triu(1)
    median = distances(some, some)[above].median().item()
    if median == 0:
        raise ValueError("`bandwidths` must be given, since most samples of `x` and `y` agree; pass a positive number.")
    return median

r"""Precision and recall: how many fakes look real, and how many real images could have been made.

Each set stands for the union of balls around its features that reach to their `k`-th neighbour in the set. Precision is
the share of the fakes in the union of the real ones, recall the share of the real ones in the union of the fakes. A
model that makes one image well has precision 1 and recall near 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops.metrics._points import blocks, points


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares between 0 and 1: of the fakes that are near real ones, of the real ones that are near fakes."""

    precision: float
    recall: float


class Neighbourhood:
    r"""The union of balls around real features, for several sets of fakes to be compared with.

    Args:
        real: features of real images, `[n, d]`, as `Extractor.features` gives them.
        k: which neighbour the balls reach to; a point is no neighbour of itself.

    Raises:
        TypeError, ValueError: for features that are none, or fewer than `k + 1` of them.

    Cost: a matrix of distances, in blocks of rows.
    """

    @torch.no_grad()
    def __init__(self, real: Tensor, *, k: int = 3) -> None:
        self.k, self.real = whole(k, "k", 1), real
        x, _ = points(real, real, least=k + 1)
        self.center = x.mean(0)  # which changes no distance, and saves the digits of features far from the origin
        self.radii = _radii(x - self.center, k)

    @torch.no_grad()
    def precision_recall(self, fake: Tensor) -> PrecisionRecall:
        """Both shares for features `[m, d]` of the images to be judged.

        Raises:
            TypeError, ValueError: for features that do not match, or fewer than `k + 1` of them.

        Cost: two matrices of distances, in blocks of rows.
        """
        real, fake = (x - self.center for x in points(self.real, fake, least=self.k + 1))
        radii = _radii(fake, self.k)
        precise, recalled = [], real.new_zeros(len(real), dtype=torch.bool)
        for start, block in blocks(fake, real):
            precise.append((block <= self.radii).any(1))
            recalled |= (block <= radii[start : start + len(block), None]).any(0)
        return PrecisionRecall(torch.cat(precise).double().mean().item(), recalled.double().mean().item())


def precision_recall(real: Tensor, fake: Tensor, *, k: int = 3) -> PrecisionRecall:
    """Both shares for features `[n, d]` and `[m, d]`, as `Extractor.features` gives them.

    Values depend on the numbers of images; the paper takes 50,000 of each.

    Args:
        real: features of real images.
        fake: features of the images to be judged.
        k: which neighbour the balls reach to; a point is no neighbour of itself.

    Raises:
        TypeError, ValueError: for features that do not match, or fewer than `k + 1` of them.

    Cost: three matrices of distances, in blocks of rows; see `Neighbourhood` for several sets of fakes.
    Source: Kynkäänniemi et al. 1904.06991, eqs. (1) and (2).
    """
    return Neighbourhood(real, k=k).precision_recall(fake)


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each row to its `k`-th neighbour among the others."""
    radii = []
    for start, block in blocks(x, x):
        block.diagonal(start).fill_(torch.inf)
        radii.append(block.topk(k, dim=1, largest=False).values[:, -1])  # the largest of the k smallest
    return torch.cat(radii)

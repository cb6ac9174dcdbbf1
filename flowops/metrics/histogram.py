r"""Kullback-Leibler divergence between a known law and samples, on a histogram.

The protocol of the checkerboard (2505.18825 §G.1, eq. 103): 64,000 samples, $50\times50$ cells over $[-1,1]^2$. Of a
board of $4\times4$ squares some rows and columns of cells straddle two squares. The law at a cell's center gives such a
cell to one of them, so that even exact samples score 0.0645; on $48\times48$ cells, which no edge cuts, they score
0.0091, the sampling error alone. See `theory_checks/test_histogram_divergence_has_a_floor.py`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import check_state, number, whole
from flowops.problems import Problem

_CHUNK = 65536  # points at which a density is evaluated together


def histogram_kl(
    samples: Tensor,
    reference: Problem[Any, Any] | Tensor,
    *,
    bins: int = 50,
    low: float = -1.0,
    high: float = 1.0,
    points: int = 1,
    empty: float = 0.5,
) -> Tensor:
    r"""$\mathrm{KL}(p\,\|\,q)=\sum_{p_c>0}p_c\log(p_c/q_c)$, a 0-d float64 tensor.

    $p_c$ is the mass of cell $c$ under the reference and $q_c$ the share of *all* samples that lie in it: a sample
    outside the box, or not finite, is mass lost. The direction punishes mass that is missed; samples where $p_c=0$
    count only through the mass that they take from elsewhere. The value of $n$ exact samples is about
    $(\#\{p_c>0\}-1)/2n$ for exact $p_c$ and for $n$ well above the number of cells with mass. Where there are fewer
    samples than these, most of the sum is the half sample that each empty cell counts as: the value is far too small,
    even negative, and says nothing.

    Args:
        samples: `[n, d]`, from the model.
        reference: a problem with a density, whose masses `cell_masses` gives, or a table of masses with `d` axes of
            `bins` entries, the first for the first coordinate, that add up to one.
        bins: cells per coordinate.
        low: lower end of the box in every coordinate; cells are half open, `[left, right)`.
        high: upper end.
        points: see `cell_masses`; 1 is the protocol of the paper. Not used for a table.
        empty: how many samples an empty cell counts as, so that a missed cell does not make everything infinite; 0
            leaves it infinite.

    Raises:
        TypeError, ValueError: for samples of another shape, an unsuitable table, a box without interior, and a problem
            without a density.

    Source: 2505.18825 eq. (103).
    """
    bins, low, high = _box(bins, low, high)
    if isinstance(reference, Tensor):
        masses = reference.to(torch.float64)
    else:
        masses = cell_masses(reference, bins=bins, low=low, high=high, points=points)
    _check_samples(samples, masses.ndim)
    _check_masses(masses, bins)
    if number(empty, "empty") < 0:
        raise ValueError(f"`empty` must not be negative, got {empty}; pass 0.5, or 0 for an infinite divergence.")
    position = (samples.detach().double() - low) * (bins / (high - low))
    inside = ((position >= 0) & (position < bins)).all(1)
    strides = bins ** torch.arange(masses.ndim - 1, -1, -1, device=samples.device)
    cells = (position[inside].floor().long() * strides).sum(1)
    counts = torch.bincount(cells, minlength=masses.numel()).double()
    q = torch.where(counts > 0, counts, empty) / len(samples)
    p = masses.to(samples.device).flatten()
    return torch.special.entr(p).neg().sum() - torch.where(p > 0, torch.special.xlogy(p, q), 0).sum()


def cell_masses(
    problem: Problem[Any, Any], *, bins: int = 50, low: float = -1.0, high: float = 1.0, points: int = 1
) -> Tensor:
    r"""The masses of the cells under the problem's law at $t=1$, given the box: `[bins, ...]`, on the CPU.

    Args:
        problem: one with a density; its `event` has one axis of `d` coordinates, an axis of the table each.
        bins: cells per coordinate.
        low: lower end of the box in every coordinate.
        high: upper end.
        points: the density is evaluated at this many points per cell and coordinate, the middles of equal parts: 1 is
            the value at the center, 2 is exact for a checkerboard of four squares on 50 cells, whose edges halve cells.

    A point on an edge of the law counts as just above it, as the half-open cells have it.

    Raises:
        ValueError: for a problem without a density or without a single axis, or no density in the box.

    Cost: $(\text{points}\cdot\text{bins})^d$ values of the density.
    """
    bins, low, high = _box(bins, low, high)
    whole(points, "points")
    if len(problem.event) != 1:
        raise ValueError(f"`problem` must have states of one axis, got event {list(problem.event)}; flatten them.")
    d, n = problem.event[0], bins * points
    device = next(problem.b.buffers(), torch.empty(0)).device
    axis = low + (torch.arange(n, dtype=torch.float64, device=device) + 0.5 + 1e-6) * ((high - low) / n)
    nodes = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    with torch.no_grad():
        density = torch.cat([problem.log_prob(1.0, chunk).exp() for chunk in nodes.split(_CHUNK)])
    parts = density.reshape([size for _ in range(d) for size in (bins, points)])
    masses = parts.sum(dim=tuple(range(1, 2 * d, 2)))
    if not (masses.sum() > 0 and masses.isfinite().all()):
        raise ValueError(f"`problem` must have mass in the box [{low}, {high}], got none there; widen it.")
    return (masses / masses.sum()).cpu()


def _box(bins: int, low: float, high: float) -> tuple[int, float, float]:
    low, high = number(low, "low"), number(high, "high")
    if not low < high:
        raise ValueError(f"`low` must be below `high`, got [{low}, {high}]; swap them.")
    return whole(bins, "bins"), low, high


def _check_samples(samples: Tensor, d: int) -> None:
    check_state(samples, "samples")
    if samples.ndim != 2 or samples.shape[1] != d or not len(samples):
        raise ValueError(f"`samples` must have shape [n, {d}], got {list(samples.shape)}; flatten every state.")


def _check_masses(masses: Tensor, bins: int) -> None:
    if masses.ndim < 1 or any(size != bins for size in masses.shape):
        raise ValueError(
            f"`reference` must be a table of {bins} entries per axis, got shape {list(masses.shape)}; pass bins=..."
        )
    if not (masses >= 0).all() or not math.isclose(masses.sum().item(), 1, rel_tol=0, abs_tol=1e-5):
        raise ValueError(
            f"`reference` must be masses that add up to one, got a sum of {masses.sum().item():.6g}; divide by it."
        )

r"""The histogram divergence of exact samples has a floor: that of the cells which edges cut, and that of the sampling.

(103) takes the density at the centers, $p$, and the shares $\hat q$ of $n$ samples in the cells, whose masses are $q$.
By the expansion of the logarithm to the third order, with $nq_c$ samples expected in a cell,
$$\mathbb E\sum_cp_c\log\frac{p_c}{\hat q_c}\approx\sum_cp_c\log\frac{p_c}{q_c}
  +\sum_cp_c\Big(\frac{1-q_c}{2nq_c}+\frac5{12\,n^2q_c^2}\Big),\qquad
  \mathrm{Var}\approx\frac1n\Big(\sum_c\frac{p_c^2}{q_c}-1\Big)+\frac1{2n^2}\sum_c\frac{p_c^2}{q_c^2}.$$
On the board of $4\times4$ squares $50\times50$ cells over $[-1,1]^2$ are cut by the edges at $\pm\tfrac12$, so that
$p\ne q$: with the 64,000 samples of the paper an exact sampler scores 0.0645, 0.0538 of it for the cells that are cut.
No edge cuts $48\times48$ cells: there $p=q$ and the floor is the sampling's, 0.0091. The quadrature at the centers is
exact, as the paper has it, only there: on 50 cells $\mathrm{KL}(\rho_1\|\rho_{hist})$ itself is another number.

Hypotheses: every cell of $p_c>0$ has many samples. Masses are made of exact fractions, histograms by NumPy; single
values within 6 standard deviations (false alarms: $2\cdot10^{-9}$ each, were they normal).

Source: 2505.18825 G.1 (103) and Table 1.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops import interpolants, problems
from flowops.metrics import cell_masses, histogram_kl
from theory_checks.cases import CLOSED_FORM
from theory_checks.verdicts import Check

SAMPLES, BINS = 64_000, 50
SQUARES = 4


def darkness(low: Fraction, high: Fraction) -> list[Fraction]:
    """The lengths of an interval of [-1, 1] in the even squares of a side, and in the odd ones."""
    found, side = [Fraction(0), Fraction(0)], Fraction(2, SQUARES)
    for i in range(SQUARES):
        left = -1 + i * side
        found[i % 2] += max(min(high, left + side) - max(low, left), Fraction(0))
    return found


def masses(bins: int, centers: bool) -> Tensor:
    """The masses of the cells, exact, or by the density just above their centers."""
    width = Fraction(2, bins)
    sides = []
    for i in range(bins):
        left = -1 + i * width
        middle = left + width / 2
        sides.append(darkness(middle, middle + Fraction(1, 10**9)) if centers else darkness(left, left + width))
    lengths = torch.tensor([[float(part) for part in side] for side in sides], dtype=torch.float64)
    dark = lengths[:, None, 0] * lengths[None, :, 0] + lengths[:, None, 1] * lengths[None, :, 1]
    return (dark / dark.sum()).flatten()


class Floor(NamedTuple):
    """What exact samples score: for the cut cells, for the sampling, and the standard deviation."""

    cut: float
    sampling: float
    deviation: float

    def distance(self, value: float) -> float:
        """Of a score, in standard deviations."""
        return abs(value - self.cut - self.sampling) / self.deviation


def floor(bins: int, n: float = SAMPLES) -> Floor:
    p, q = masses(bins, centers=True), masses(bins, centers=False)
    p, q = p[p > 0], q[p > 0]
    cut, sampling = p * (p / q).log(), p * ((1 - q) / (2 * n * q) + 5 / (12 * (n * q) ** 2))
    variance = ((p * p / q).sum() - 1) / n + (p / q).square().sum() / (2 * n * n)
    return Floor(float(cut.sum()), float(sampling.sum()), float(variance.sqrt()))


def exact_samples(n: int, seed: int) -> Tensor:
    """Of the board, by rejection: none of the sampler under test."""
    x = 2 * torch.rand(3 * n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1
    square = ((x + 1) * SQUARES / 2).floor().long()
    return x[square.sum(1) % 2 == 0][:n]


def by_hand(samples: Tensor, bins: int) -> float:
    """(103) with NumPy's histogram."""
    p = masses(bins, centers=True).numpy()
    x, y = samples[:, 0].numpy(), samples[:, 1].numpy()
    counts, _, _ = np.histogram2d(x, y, bins=bins, range=[(-1, 1), (-1, 1)])
    q = counts.flatten() / len(samples)
    kept = p > 0
    return float((p[kept] * np.log(p[kept] / q[kept])).sum())


@pytest.mark.parametrize("bins", [BINS, 48])
def test_the_masses_are_those_of_the_board(check: Check, bins: int) -> None:
    board = problems.checkerboard(interpolants.linear(), SQUARES)
    check.vanishes(cell_masses(board, bins=bins).flatten() - masses(bins, centers=True), CLOSED_FORM)
    check.vanishes(cell_masses(board, bins=bins, points=2).flatten() - masses(bins, centers=False), CLOSED_FORM)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("bins", [BINS, 48])
def test_the_protocol_of_the_paper(check: Check, bins: int, seed: int) -> None:
    """The library on exact samples: the formula on NumPy's histogram, and the floor as predicted."""
    board, samples = problems.checkerboard(interpolants.linear(), SQUARES), exact_samples(SAMPLES, seed)
    ours = float(histogram_kl(samples, board, bins=bins))
    check.vanishes(torch.tensor(ours - by_hand(samples, bins)), CLOSED_FORM)
    check.at_most(floor(bins).distance(ours), 6.0, where=f"in {ours:.4f}")


def test_the_sampler_of_the_library_has_the_floor_too(check: Check) -> None:
    board = problems.checkerboard(interpolants.linear(), SQUARES)
    samples = board.sample_data(SAMPLES, generator=torch.Generator().manual_seed(3))
    for bins in (BINS, 48):
        check.at_most(floor(bins).distance(float(histogram_kl(samples, board, bins=bins))), 6.0)


def test_the_floors_are_the_known_numbers(check: Check) -> None:
    fine, even = floor(BINS), floor(48)
    known = torch.tensor([0.0645, 0.0538, 0.0091, 0.0])
    check.vanishes(torch.tensor([fine.cut + fine.sampling, fine.cut, even.sampling, even.cut]) - known, 5e-5)
    # of the chi-square law of the dark cells, to leading order
    check.vanishes(torch.tensor(floor(48, 1e12).sampling * 2e12 - (48 * 48 / 2 - 1)), 1e-3)


def test_the_quadrature_is_exact_where_no_edge_cuts_a_cell(check: Check) -> None:
    r"""$\mathrm{KL}(\rho_1\|\rho_{hist})=\sum_cq_c\log(\rho A/q_c)$ with $\rho=\tfrac12$ and cells of area A."""
    for bins, same in ((48, True), (BINS, False)):
        p, q = masses(bins, centers=True), masses(bins, centers=False)
        integral = (torch.special.entr(q) + q * math.log(0.5 * (2 / bins) ** 2)).sum()
        quadrature = (p[p > 0] * (p[p > 0] / q[p > 0]).log()).sum()
        assert (abs(float(integral - quadrature)) < CLOSED_FORM) is same
        if same:
            check.vanishes(integral, CLOSED_FORM)


def test_negative_control(check: Check) -> None:
    r"""A share $\delta$ of the samples moved from one dark square to another costs $\delta^2/2$ times a constant."""
    board, samples, deltas = (
        problems.checkerboard(interpolants.linear(), SQUARES),
        exact_samples(SAMPLES, 4),
        (0.4, 0.2, 0.1),
    )
    plain, excess = float(histogram_kl(samples, board, bins=48)), []
    first = (samples < -0.5).all(1).nonzero()[:, 0]
    for delta in deltas:
        moved = samples.clone()
        moved[first[: round(delta * len(first))]] += 1.0  # two squares right and two up
        excess.append(float(histogram_kl(moved, board, bins=48)) - plain)
    check.order(torch.tensor(excess), torch.tensor(deltas), 2.0, slack=0.4)
    assert excess[-1] > 3 * floor(48).deviation

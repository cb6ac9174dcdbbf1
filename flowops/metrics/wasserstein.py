r"""Wasserstein distances of two samples: exact, and along random lines.

$W_2^2$ of two samples is the least mean of $|x-y|^2$ over all plans that move one onto the other. On a line the least
plan is the monotone one, so that averaging over lines costs sorting instead of an optimisation. The plan is constant
near a pair of samples in general position, hence both distances are differentiable in the samples.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._keys import generator as generator_of
from flowops._named import require
from flowops.metrics._points import centered, distances, points, root

_LARGEST = 5000  # points a side: a plan of twice as many takes eight times as long and four times the memory
_PIVOTS = 10_000_000  # of the network simplex; it stops far earlier
_BLOCK = 1 << 22  # projected coordinates in memory at once


def wasserstein2(x: Tensor, y: Tensor) -> Tensor:
    r"""$W_2=\bigl(\min_P\sum_{ij}P_{ij}|x_i-y_j|^2\bigr)^{1/2}$, the root taken: a 0-d float64 tensor.

    The plans have row sums $1/n$ and column sums $1/m$. Between samples of the same law the distance is not zero but of
    the order $n^{-1/d}$: compare it with that of two samples of the truth.

    Args:
        x: `[n, *event]`.
        y: `[m, *event]`.

    Raises:
        TypeError, ValueError: for samples that do not match, are not finite, or are more than 5,000.
        ImportError: for samples of different sizes without POT; equal sizes are assigned by scipy without it.
        RuntimeError: if the network simplex does not end.

    Cost: cubic in the number of samples, on the CPU; two samples of 2,000 take seconds.
    """
    x, y = centered(*points(x, y))
    if max(len(x), len(y)) > _LARGEST:
        raise ValueError(
            f"`x` and `y` must have at most {_LARGEST} samples for an exact plan, got {len(x)} and {len(y)}; pass some "
            f"of them, or use sliced_wasserstein2."
        )
    rows, columns, masses = _plan(distances(x.detach(), y.detach()).square().cpu())
    squares = (x[rows.to(x.device)] - y[columns.to(x.device)]).square().sum(1)
    return root((masses.to(x.device) * squares).sum())


def sliced_wasserstein2(
    x: Tensor, y: Tensor, *, projections: int = 512, generator: torch.Generator | None = None
) -> Tensor:
    r"""$\bigl(\mathbb E_\theta W_2^2(\theta\cdot x,\theta\cdot y)\bigr)^{1/2}$ over directions: a 0-d float64 tensor.

    The samples are sorted along each direction, and the step functions of their quantiles compared exactly, whatever
    the two sizes. In the mean over directions its square is at most $W_2^2/d$.

    Args:
        x: `[n, *event]`.
        y: `[m, *event]`.
        projections: directions, uniform on the sphere.
        generator: where they are drawn from; if None, always the same ones, so that models are compared along the same
            lines. The standard error falls as the root of their number.

    Raises:
        TypeError, ValueError: for samples that do not match or are not finite, or no projections.

    Source: Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures.
    """
    x, y = centered(*points(x, y))
    whole(projections, "projections", 1)
    source = generator_of("projections") if generator is None else generator
    directions = torch.randn(x.shape[1], projections, generator=source, device=source.device, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(x.device)
    n, m = len(x), len(y)
    # quantiles jump at i/n and j/m, that is at multiples of m and n over the common denominator
    jumps = torch.cat([m * torch.arange(n, device=x.device), n * torch.arange(m, device=x.device)]).unique()
    widths = jumps.diff(append=jumps.new_tensor([n * m])).double()[:, None] / (n * m)
    total = x.new_zeros(())
    for some in directions.split(max(1, _BLOCK // len(jumps)), dim=1):
        xs, ys = (x @ some).sort(0).values, (y @ some).sort(0).values
        total = total + (widths * (xs[jumps // m] - ys[jumps // n]).square()).sum()
    return root(total / projections)


def _plan(cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and masses of the entries of the least plan."""
    n, m = cost.shape
    if n == m and find_spec("ot") is None:
        from scipy.optimize import linear_sum_assignment

        rows, columns = (torch.from_numpy(index) for index in linear_sum_assignment(cost.numpy()))
        return rows, columns, cost.new_full((n,), 1 / n)
    ot = require("ot", "ot")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is in its log
        masses = (torch.full((size,), 1 / size, dtype=torch.float64).numpy() for size in (n, m))
        plan, log = ot.emd(*masses, cost.numpy(), numItermax=_PIVOTS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"The plan between `x` and `y` was not found ({log['warning']}); pass fewer samples.")
    plan = torch.from_numpy(plan)
    rows, columns = plan.nonzero(as_tuple=True)
    return rows, columns, plan[rows, columns]

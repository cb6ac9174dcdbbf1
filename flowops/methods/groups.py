r"""Groups of samples with the same times, and how far apart the laws are that two such groups are samples of.

Of `n` samples in `g` groups the sample `i` belongs to group `i mod g`: then the rows of every part of a batch into a
divisor of `g` parts hold whole groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowops.methods.norms import Norm
from flowops.methods.point import Difference, TermPoint


def groups_of(n: int, particles: int) -> int:
    """The number of groups of `n` samples."""
    return -(-n // particles)


def between_groups(norm: Norm, k: TermPoint, difference: Difference) -> Tensor:
    r"""What each sample adds to half the squared discrepancy of the two sides of its group, `[batch]`.

    With the norm $\rho$ and $m$ samples $x_i$, $y_i$ in a group it is

    $$\frac1m\sum_j\rho(x_i-y_j)-\tfrac12\rho(x_i-x_j)-\tfrac12\rho(y_i-y_j),$$

    whose mean over the group is $\tfrac12\mathrm{MMD}^2$ with the kernel $-\rho$, pairs of a sample with itself
    included: never negative for a $\rho$ of negative type, and $\rho(x-y)$ for one particle. Samples with other times
    than their group's are in none with it: those that a part of a batch holds of two groups are not compared.

    Cost: $3m$ norms per sample. Source: 2503.07565; Gretton et al. 2012, (5).
    """
    left, right = difference.left, difference.right.detach() if k.frozen else difference.right
    n, event = len(left), left.shape[1:]
    groups = groups_of(n, k.options.particles)
    rows = -(-n // groups)

    def grouped(values: Tensor, fill: float) -> Tensor:
        padding = values.new_full((rows * groups - n, *values.shape[1:]), fill)
        return torch.cat([values, padding]).reshape(rows, groups, *values.shape[1:])

    s, t = (grouped(times, float("nan")) for times in (k.s, k.t))
    same = ((s[:, None] == s) & (t[:, None] == t)).to(left.dtype)  # nobody is with what is only there to fill

    def mean(x: Tensor, y: Tensor) -> Tensor:
        pairs = [z.expand(rows, rows, groups, *event).reshape(-1, *event) for z in (x[:, None], y)]
        return (norm.between(*pairs).reshape(rows, rows, groups) * same).sum(1) / same.sum(1).clamp(min=1)

    x, y = grouped(left, 0.0), grouped(right, 0.0)
    return (mean(x, y) - 0.5 * (mean(x, x) + mean(y, y))).reshape(-1)[:n]

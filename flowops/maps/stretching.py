r"""How a flow map stretches: the singular values of its Jacobian, and their rates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_time, expand_times, whole
from flowops._types import PerSample, TimeLike
from flowops.fields.strain import matrices, strain
from flowops.maps.bidiagonal import bidiagonalize
from flowops.maps.flow_map import FlowMap, grid_of


def singular_values(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor) -> Tensor:
    r"""Those of $\nabla X_{s,t}(x)$, `[batch, d]`, the largest first.

    Their product is $|\det\nabla X_{s,t}(x)|$. Those smaller than the largest by more than the precision are rounding.

    Cost: one Jacobian and a singular value decomposition of a $d\times d$ matrix, cubic in $d$.
    """
    return torch.linalg.svdvals(matrices(X.jacobian(s, t, x), x))


def lipschitz(
    X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, steps: int = 8, generator: torch.Generator | None = None
) -> PerSample:
    r"""$\|\nabla X_{s,t}(x)\|_2$ of each sample from below, `[batch]`: how fast neighbours part, for large events.

    It is the largest singular value of `steps` of Golub-Kahan bidiagonalization from a random direction, exact for $d$
    of them. Its largest over a convex set is the Lipschitz constant there.

    Args:
        X: the map.
        s: the time of `x`.
        t: the time wanted.
        x: state.
        steps: at most $d$ are taken.
        generator: source of the direction.

    Raises:
        ValueError: unless `steps` is a positive whole number.

    Cost: `steps` of `jvp` and `vjp`. Source: Golub, Kahan 1965. Checked by
    `theory_checks/test_local_lipschitz_constants.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    start = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return bidiagonalize(X, s, t, x, start, whole(steps, "steps", 1)).singular_values()[:, 0]


def lyapunov_exponents(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor) -> Tensor:
    r"""Finite-time Lyapunov exponents $\log\sigma_i(\nabla X_{s,t}(x))/(t-s)$, `[batch, d]`, the largest first.

    At $s=t$ they are their limits, the eigenvalues of the strain of the implied field. The way back along a
    trajectory has the same ones, since $\nabla X_{t,s}(X_{s,t}(x))=\nabla X_{s,t}(x)^{-1}$ and $t-s$ changes its sign
    too.

    >>> X = FlowMap.from_function(lambda s, t, x: torch.exp((t - s)[:, None] * torch.tensor([-2.0, 1.0])) * x)
    >>> lyapunov_exponents(X, 0.0, 1.0, torch.ones(1, 2)).round(decimals=3)
    tensor([[ 1., -2.]])

    Cost: one Jacobian of `X`, one of its velocity, and decompositions of $d\times d$ matrices, cubic in $d$. Digits are
    lost like $\epsilon/|t-s|$. Source: Haller 2001, Physica D 149:248; Oseledets 1968. Checked by
    `theory_checks/test_lyapunov_exponents.py`.
    """
    check_state(x)
    s, t = expand_times(s, t, x)
    moves = (t != s)[:, None]
    span = torch.where(moves, (t - s)[:, None], 1).to(x.dtype)
    values = torch.where(moves, singular_values(X, s, t, x), 1)
    rates = (values.log() / span).sort(-1, descending=True).values
    limits = torch.linalg.eigvalsh(matrices(strain(X.velocity(), t, x), x)).flip(-1)
    return torch.where(moves, rates, limits)


def lyapunov_spectrum(X: FlowMap, times: Sequence[TimeLike] | Tensor, x: Tensor) -> Tensor:
    r"""Lyapunov exponents along $X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1}(x)$ over the whole grid, `[batch, d]`.

    The frame that $\nabla X$ carries along is made orthonormal again at every time of the grid, and the logarithms of
    what was divided out are averaged, so that neither stretching nor contraction runs out of digits. They tend to the
    exponents of Oseledets, and for one step to $\log|R_{ii}|/(t_1-t_0)$ of a QR decomposition; their sum is the mean
    divergence along the trajectory for every grid.

    Args:
        X: the map.
        times: the grid; steps over which no direction is stretched by more than the precision allows.
        x: states at the first of the times.

    Raises:
        ValueError: for a grid of fewer than two times.

    Cost: one Jacobian, one call and one QR decomposition of a $d\times d$ matrix a step. Source: Benettin, Galgani,
    Giorgilli, Strelcyn 1980, Meccanica 15:9. Checked by `theory_checks/test_lyapunov_exponents.py`.
    """
    check_state(x)
    grid = [expand_time(t, x, "times") for t in grid_of(times)]
    if len(grid) < 2:
        raise ValueError("`times` must hold at least two times, got one; pass [t_0, ..., t_k].")
    size = x.shape[1:].numel()
    frame = torch.eye(size, dtype=x.dtype, device=x.device).expand(len(x), size, size)
    total = x.new_zeros(len(x), size)
    for s, t in zip(grid[:-1], grid[1:], strict=True):
        frame, scales = torch.linalg.qr(matrices(X.jacobian(s, t, x), x) @ frame)
        total = total + scales.diagonal(dim1=-2, dim2=-1).abs().log()
        x = X(s, t, x)
    return total / (grid[-1] - grid[0])[:, None].to(x.dtype)

r"""Sizes of states, and norms of Jacobians: exact for small events, by Lanczos for large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._keys import normal_like
from flowops._types import PerSample, State, Times
from flowops.fields import VelocityField
from flowops.fields.strain import matrices

SMALL = 32  # numbers of an event up to which Jacobians are decomposed
STEPS = 12  # of Lanczos


def euclidean(x: Tensor) -> PerSample:
    """$|x_i|$ of every sample, `[batch]`."""
    return torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)


class Rates(NamedTuple):
    r"""How fast a field drives nearby states apart, `[batch]` each.

    Attributes:
        growth: $\mu_2(\pm\nabla b)$, the largest eigenvalue of the symmetric part.
        norm: $\|\nabla b\|_2$, never less than $|\mu_2|$.
    """

    growth: Tensor
    norm: Tensor


def rates(b: VelocityField, t: Times, x: State, direction: Tensor, steps: int = STEPS) -> Rates:
    r"""The logarithmic norm of $\pm\nabla b_t(x)$ and the spectral norm; `direction` is $\pm1$, `[batch]`.

    Exact for events of at most 32 numbers, by one Jacobian; beyond, Ritz values of `steps` steps of Lanczos, which are
    not above the eigenvalues they stand for.

    Cost: a Jacobian and its decompositions, or per step of Lanczos three forward and two reverse passes.
    """
    if x[0].numel() <= SMALL:
        J = matrices(b.jacobian(t, x), x)
        strain = direction[:, None, None].to(J.dtype) * (J + J.mT) / 2
        return Rates(torch.linalg.eigvalsh(strain)[:, -1], torch.linalg.matrix_norm(J, 2))
    sign = per_event(direction, x).to(x.dtype)

    def symmetric(u: Tensor) -> Tensor:
        return sign * (b.jvp(t, x, u) + b.vjp(t, x, u)) / 2

    growth = lanczos(symmetric, x, steps)
    norm = lanczos(lambda u: b.vjp(t, x, b.jvp(t, x, u)), x, steps).clamp(min=0).sqrt()
    return Rates(growth, torch.maximum(norm, growth.abs()))


def lanczos(multiply: Callable[[Tensor], Tensor], x: State, steps: int) -> PerSample:
    """The largest Ritz value of symmetric matrices, one per sample, each from its own start; `[batch]`.

    Vectors are made orthogonal to all before them. A Krylov space that is exhausted ends with the exact value.
    """
    n, size = len(x), x[0].numel()
    steps = min(steps, size)
    v = normal_like(x, "lanczos").reshape(n, size)
    basis = [v / v.norm(dim=1, keepdim=True)]
    alphas, betas = [], []
    for _ in range(steps):
        w = multiply(basis[-1].reshape(x.shape)).reshape(n, size)
        alphas.append((w * basis[-1]).sum(1))
        for _ in range(2):
            for u in basis:
                w = w - (w * u).sum(1, keepdim=True) * u
        beta = w.norm(dim=1)
        alive = beta > 1e3 * torch.finfo(x.dtype).eps * (1 + alphas[-1].abs())
        betas.append(torch.where(alive, beta, 0))
        basis.append(torch.where(alive[:, None], w / torch.where(alive, beta, 1)[:, None], 0))
    T = torch.diag_embed(torch.stack(alphas, 1))
    if steps > 1:
        off = torch.stack(betas[:-1], 1)
        T = T + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    return torch.linalg.eigvalsh(_within(T, torch.stack(betas, 1)))[:, -1]


def _within(T: Tensor, betas: Tensor) -> Tensor:
    """The matrices without what follows an exhausted space: there the diagonal repeats the first entry."""
    ended = torch.cat([torch.zeros_like(betas[:, :1], dtype=torch.bool), (betas[:, :-1] == 0).cumsum(1) > 0], 1)
    first = T[:, :1, 0].expand(ended.shape)
    diagonal = torch.where(ended, first, T.diagonal(dim1=1, dim2=2))
    return T - torch.diag_embed(T.diagonal(dim1=1, dim2=2)) + torch.diag_embed(diagonal)

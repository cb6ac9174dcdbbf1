r"""The Jacobian of a flow map seen from a few directions: Golub-Kahan bidiagonalization by `jvp` and `vjp`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._types import PerSample, State, Times
from flowops.fields.divergence import inner
from flowops.maps.flow_map import FlowMap

_ROUNDINGS = 64  # below as many of the largest entry a new direction is rounding


class Bidiagonal(NamedTuple):
    r"""$\nabla X\,V=UB$ with orthonormal columns of $V$ and $U$, and $V e_1$ along the start.

    Attributes:
        matrices: $B$, upper bidiagonal, `[batch, k, k]`; rows of directions that are not there are zero.
        found: which directions are there, `[batch, k]`: from an invariant subspace none leads out.
    """

    matrices: Tensor
    found: Tensor

    def singular_values(self) -> Tensor:
        r"""Of $B$, `[batch, k]`, the largest first: those of $\nabla X$ once $k=d$, between its extremes before."""
        return torch.linalg.svdvals(self.matrices)

    def log_quadratic_form(self, steps: int) -> PerSample:
        r"""$v^\top\log(\nabla X^\top\nabla X)^{1/2}\,v$ for the unit start $v$ by Gauss quadrature of some steps."""
        B, found = self.matrices[:, :steps, :steps], self.found[:, :steps]
        apart = (3 + torch.arange(steps, device=B.device)) * B.detach().abs().amax((1, 2))[:, None]  # of weight zero
        _, values, rows = torch.linalg.svd(B + torch.diag_embed(torch.where(found, 0, apart)))
        return (rows[:, :, 0].square() * values.log()).sum(1)


def bidiagonalize(X: FlowMap, s: Times, t: Times, x: State, start: State, steps: int) -> Bidiagonal:
    r"""The first `steps` of it from a direction `start`, at most $d$, made orthogonal to all that came before.

    Cost: `steps` `jvp`, one `vjp` fewer, and `steps` vectors of the size of a state twice. Source: Golub, Kahan 1965.
    """
    v, _, found = _normalized(start, start.new_zeros(len(start)))
    right, alive = [v], [found]
    left: list[State] = []
    alphas: list[PerSample] = []
    betas: list[PerSample] = []
    largest = start.new_zeros(len(start))
    for k in range(min(steps, x.shape[1:].numel())):
        if k:
            v, beta, found = _normalized(_orthogonal(X.vjp(s, t, x, left[-1]), right), largest)
            right.append(v)
            betas.append(beta)
            alive.append(found)
        u, alpha, _ = _normalized(_orthogonal(X.jvp(s, t, x, v), left), torch.zeros_like(largest))
        left.append(u)
        alphas.append(alpha)
        largest = torch.maximum(largest, torch.maximum(alpha, betas[-1] if k else alpha).detach())
    B = torch.diag_embed(torch.stack(alphas, 1))
    if betas:
        B = B + torch.diag_embed(torch.stack(betas, 1), 1)
    return Bidiagonal(B, torch.stack(alive, 1))


def _orthogonal(u: State, others: list[State]) -> State:
    """What of `u` is orthogonal to these unit vectors, taken out twice."""
    for _ in range(2):
        for w in others:
            u = u - per_event(inner(u, w), u) * w
    return u


def _normalized(u: State, largest: PerSample) -> tuple[State, PerSample, Tensor]:
    """The unit vector, the length and whether it is more than rounding; zero, zero and no where it is not."""
    square = inner(u, u)
    least = _ROUNDINGS * torch.finfo(u.dtype).eps * largest
    found = square > least.square()
    length = torch.where(found, square, 1).sqrt()
    return torch.where(per_event(found, u), u / per_event(length, u), 0), torch.where(found, length, 0), found

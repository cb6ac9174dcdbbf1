r"""What the geometry of a field or a Hamiltonian imposes on flow maps and Jacobians."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._arguments import check_per_sample, check_state
from flowops._types import State, TimeLike
from flowops.fields import VelocityField
from flowops.fields.strain import matrices
from flowops.maps import FlowMap
from flowops.residuals.identities import Residual, finish


def symplecticity(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor, *, parts: bool = False) -> Residual:
    r"""$\nabla X_{s,t}(x)^\top J\,\nabla X_{s,t}(x)-J$ with $J=\begin{pmatrix}0&I\\-I&0\end{pmatrix}$, `[batch, d, d]`.

    The flattened event is $(q,p)$: positions, then momenta. It vanishes for the flow of every Hamiltonian, also of one
    that depends on time, and in the plane if and only if areas are kept.

    Raises:
        ValueError: for an odd number of coordinates.

    Cost: one Jacobian. Source: Poincaré 1899; Hairer, Lubich, Wanner, Geometric Numerical Integration, Thm. VI.2.4.
    Checked by `theory_checks/test_hamiltonian_flows.py`.
    """
    check_state(x)
    size = x.shape[1:].numel()
    if size % 2:
        raise ValueError(f"`x` must have events of an even number of entries, (q, p), got {size}; append the momenta.")
    half = torch.eye(size // 2, dtype=x.dtype, device=x.device)
    zero = torch.zeros_like(half)
    J = torch.cat([torch.cat([zero, half], 1), torch.cat([-half, zero], 1)])
    M = matrices(X.jacobian(s, t, x), x)
    return finish(M.mT @ J @ M, J.expand(M.shape), parts)


def energy(
    X: FlowMap, H: Callable[[State], Tensor], s: TimeLike, t: TimeLike, x: Tensor, *, parts: bool = False
) -> Residual:
    r"""$H(X_{s,t}(x))-H(x)$, `[batch]`: it vanishes for every first integral $H$, $\nabla H\cdot b_t=0$.

    Args:
        X: the map.
        H: `x -> [batch]`, such as the Hamiltonian of an autonomous system.
        s: start time.
        t: end time.
        x: state at time `s`.
        parts: return both sides.

    Raises:
        ValueError: unless `H` gives one number per sample.

    Cost: one call of `X`, two of `H`. Checked by `theory_checks/test_hamiltonian_flows.py`.
    """
    check_state(x)
    return finish(check_per_sample(H(X(s, t, x)), x, "H"), check_per_sample(H(x), x, "H"), parts)


def jacobian_symmetry(b: VelocityField, t: TimeLike, x: Tensor, *, parts: bool = False) -> Residual:
    r"""$\nabla b_t(x)-\nabla b_t(x)^\top$, `[batch, d, d]`: zero everywhere if and only if $b_t$ is a gradient.

    Velocities of interpolants from an independent Gaussian base are gradients; so is the optimal field between two
    laws.

    Cost: one Jacobian of `b`. Source: Poincaré's lemma. Checked by `theory_checks/test_gradient_fields.py`.
    """
    J = matrices(b.jacobian(t, x), x)
    return finish(J, J.mT, parts)

r"""The two parts of the Jacobian of a field: strain, which stretches, and spin, which turns."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._types import Jacobian, PerSample, TimeLike
from flowops.fields.velocity_field import VelocityField, check_velocity_field


def strain(b: VelocityField, t: TimeLike, x: Tensor) -> Jacobian:
    r"""$\tfrac12(\nabla b_t+\nabla b_t^\top)(x)$, `[batch, *event, *event]`: how fast lengths and angles change.

    Its trace is the divergence. Cost: one Jacobian of `b`.

    Raises:
        TypeError: for anything but a field.
    """
    check_velocity_field(b)
    J = b.jacobian(t, x)
    return (J + transposed(J, x)) / 2


def spin(b: VelocityField, t: TimeLike, x: Tensor) -> Jacobian:
    r"""$\tfrac12(\nabla b_t-\nabla b_t^\top)(x)$, `[batch, *event, *event]`: the rate of rotation.

    It vanishes everywhere if and only if $b_t$ is a gradient. Cost: one Jacobian of `b`.

    Raises:
        TypeError: for anything but a field.
    """
    check_velocity_field(b)
    J = b.jacobian(t, x)
    return (J - transposed(J, x)) / 2


def logarithmic_norm(b: VelocityField, t: TimeLike, x: Tensor) -> PerSample:
    r"""$\mu_2(\nabla b_t(x))$, the largest eigenvalue of the strain, `[batch]`; negative where distances shrink.

    The one-sided Lipschitz constant of $b_t$ on a convex set is its largest value there, and trajectories that stay in
    it obey $|X_{s,t}(x)-X_{s,t}(y)|\le e^{\int_s^t\mu_\tau\,d\tau}|x-y|$ for $s\le t$, which a Lipschitz constant can
    only say with $|\mu|$. The least eigenvalue is `-logarithmic_norm(-b, t, x)`.

    Raises:
        TypeError: for anything but a field.

    Cost: one Jacobian of $d$ forward-mode passes and the eigenvalues of a $d\times d$ matrix, cubic in $d$: for small
    events. Source: Dahlquist 1959; Hairer, Nørsett, Wanner, Solving ODEs I, §I.10. Checked by
    `theory_checks/test_logarithmic_norm.py`.
    """
    return torch.linalg.eigvalsh(matrices(strain(b, t, x), x))[:, -1]


def matrices(J: Jacobian, x: Tensor) -> Tensor:
    """Per-sample Jacobians as matrices of the flattened event, `[batch, d, d]`."""
    size = x.shape[1:].numel()
    return J.reshape(x.shape[0], size, size)


def transposed(J: Jacobian, x: Tensor) -> Jacobian:
    """Per-sample Jacobians with rows and columns of the flattened event exchanged."""
    return matrices(J, x).mT.reshape(J.shape)

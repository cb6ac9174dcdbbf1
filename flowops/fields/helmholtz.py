r"""The gradient and the divergence-free part of a field on a periodic box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops.fields.velocity_field import VelocityField, check_velocity_field


@dataclass(frozen=True)
class Helmholtz:
    r"""$b=\bar b+\nabla\phi+w$ with $\nabla\!\cdot w=0$, orthogonal to each other in $L^2$ of the box.

    Attributes:
        points: the nodes, `[n, d]`.
        mean: $\bar b$, `[d]`, which is both.
        gradient: $\nabla\phi$ at the nodes, `[n, d]`.
        solenoidal: $w$ at the nodes, `[n, d]`.
    """

    points: Tensor
    mean: Tensor
    gradient: Tensor
    solenoidal: Tensor


def helmholtz(
    b: VelocityField,
    t: float | Tensor,
    lengths: Sequence[float],
    *,
    nodes: int = 33,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Helmholtz:
    r"""Helmholtz's decomposition on the box $\prod_i[0,L_i)$ by Fourier series: $\hat w=\hat b-k(k\cdot\hat b)/|k|^2$.

    It is exact for trigonometric polynomials of fewer than `nodes` / 2 waves along each side, and its error falls
    geometrically in `nodes` for analytic fields.

    Args:
        b: a field of events `[d]` that is periodic with the lengths.
        t: one time.
        lengths: $L_1,\dots,L_d$.
        nodes: along each side, odd, so that every wave but the mean has its conjugate.
        dtype: of the nodes.
        device: of the nodes.

    Raises:
        TypeError: for anything but a field.
        ValueError: for an even number of nodes, or lengths that are no sequence of positive numbers.

    Cost: one call of `b` at $\mathtt{nodes}^d$ points, and $2d$ fast Fourier transforms: for $d\le3$. Source: Chorin,
    Marsden, A Mathematical Introduction to Fluid Mechanics, §1.3. Checked by
    `theory_checks/test_helmholtz_decomposition.py`.
    """
    check_velocity_field(b)
    if whole(nodes, "nodes", 3) % 2 == 0:
        raise ValueError(f"`nodes` must be odd, got {nodes}; pass {nodes + 1}.")
    sequence = isinstance(lengths, Sequence) and lengths
    if not sequence or min(number(length, "lengths") for length in lengths) <= 0:
        raise ValueError(f"`lengths` must be positive numbers, one a side, got {lengths!r}; pass the list of periods.")
    sides = [torch.arange(nodes, dtype=dtype, device=device) * (length / nodes) for length in lengths]
    waves = [torch.fft.fftfreq(nodes, length / nodes, dtype=dtype, device=device) for length in lengths]
    points = torch.cartesian_prod(*sides).reshape(-1, len(sides))
    k = torch.cartesian_prod(*waves).reshape(-1, len(sides))
    axes, grid = tuple(range(len(sides))), (nodes,) * len(sides)
    modes = torch.fft.fftn(b(t, points).reshape(*grid, -1), dim=axes).reshape(points.shape)
    along = (k * modes).sum(1, keepdim=True) / k.square().sum(1, keepdim=True).clamp(min=torch.finfo(dtype).tiny) * k
    mean = modes[0].real / len(points)
    gradient = torch.fft.ifftn(along.reshape(*grid, -1), dim=axes).real.reshape(points.shape)
    rest = torch.fft.ifftn((modes - along).reshape(*grid, -1), dim=axes).real.reshape(points.shape)
    return Helmholtz(points, mean, gradient, rest - mean)

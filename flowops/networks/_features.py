r"""What networks see of a state and of two times, batched throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops._types import Times


class Fourier(nn.Module):
    r"""$z\mapsto(z,\ \sin\omega_1z,\dots,\sin\omega_kz,\ \cos\omega_1z,\dots,\cos\omega_kz)$ for fixed frequencies.

    Of columns `[batch, n]` it makes `[batch, n (2k + 1)]`. The frequencies bound how fast the features turn: their
    derivative along a unit direction is at most $\max(1,\omega_k)$.
    """

    def __init__(self, frequencies: Sequence[float]) -> None:
        super().__init__()
        values = [number(frequency, "frequencies") for frequency in frequencies]
        self.register_buffer("frequencies", torch.tensor(values))
        self.frequencies: Tensor

    def forward(self, z: Tensor) -> Tensor:
        if not len(self.frequencies):
            return z
        angles = (z[:, :, None] * self.frequencies.to(z.dtype)).flatten(1)
        return torch.cat([z, torch.sin(angles), torch.cos(angles)], 1)

    def multiple_of(self, size: int) -> int:
        """The number of features of `size` columns."""
        return size * (2 * len(self.frequencies) + 1)


class TimePair(nn.Module):
    r"""Features of $s$ and $t-s$: both times and $\sin,\cos$ of $\tfrac\pi2,\pi,\tfrac{3\pi}2,\dots$ times them.

    $t-s$ enters instead of $t$, so that the diagonal $t=s$ is one value of one feature. The frequencies stay small,
    since a derivative in time multiplies by them (2505.18825 §G).
    """

    def __init__(self, harmonics: int) -> None:
        super().__init__()
        self.fourier = Fourier([math.pi / 2 * k for k in range(1, harmonics + 1)])
        self.size = self.fourier.multiple_of(2)

    def forward(self, s: Times, t: Times) -> Tensor:
        return self.fourier(torch.stack([s, t - s], 1))

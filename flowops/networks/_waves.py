r"""Vectors of one number per sample: of a time, of a difference of times, of a guidance scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from flowops._types import Times

PERIODS: Final = 1e4  # the ratio of the highest to the lowest frequency of a positional embedding
EMBEDDINGS: Final = ("positional", "fourier")


class Waves(nn.Module):
    r"""$z\mapsto\sqrt2\,\cos(\omega_kz-\varphi_k)$ of numbers `[batch]`, about `n` of them, of mean square about one.

    "positional": $\omega_k$ falls geometrically from `scale` to $10^{-4}$`scale`, each with a cosine and a sine; the
    root mean square of the derivative in $z$ is below `scale`. "fourier": $\omega_k$ is normal with deviation `scale`,
    $\varphi_k$ uniform; the root mean square of the derivative is about `scale`.
    """

    def __init__(self, n: int, kind: str, scale: float, generator: torch.Generator | None) -> None:
        super().__init__()
        if kind == "positional":
            half = max(1, n // 2)
            frequencies = (scale * PERIODS ** (-torch.arange(half) / max(1, half - 1))).repeat(2)
            phases = torch.tensor([0.0, math.pi / 2]).repeat_interleave(half)
        else:
            frequencies = scale * torch.randn(n, generator=generator)
            phases = 2 * math.pi * torch.rand(n, generator=generator)
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", phases)
        self.frequencies: Tensor
        self.phases: Tensor

    def forward(self, z: Times) -> Tensor:
        angles = z[:, None] * self.frequencies.to(z.dtype) - self.phases.to(z.dtype)
        return math.sqrt(2) * torch.cos(angles)


class Embedded(nn.Module):
    """A vector of a number per sample, `[batch, width]`: waves, a linear map, the activation, a linear map."""

    def __init__(
        self,
        waves: Waves,
        width: int,
        linear: Callable[[int, int, torch.Generator | None], nn.Module],
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.waves, self.activation = waves, activation
        self.inner, self.outer = linear(len(waves.frequencies), width, generator), linear(width, width, generator)

    def forward(self, z: Times) -> Tensor:
        features = self.waves(z).to(self.inner.weight.dtype)
        return self.outer(self.activation(self.inner(features)))


def guidance_scale(guidance: Tensor | float | None, x: Tensor) -> Times:
    """The scale per sample, `[batch]` in the dtype of the state or float32: one without guidance."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    w = torch.as_tensor(1.0 if guidance is None else guidance, dtype=dtype, device=x.device)
    if w.ndim and w.shape != x.shape[:1]:
        raise ValueError(
            f"`guidance` must be a number or have shape [batch] = [{x.shape[0]}], got {list(w.shape)}; pass one scale "
            f"per sample."
        )
    return w.expand(x.shape[:1])

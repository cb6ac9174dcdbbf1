r"""Residual blocks with group normalization: $x+\mathrm{conv}(\mathrm{silu}((1+a_c)\,\mathrm{norm}(\cdot)+k_c))$."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops.networks.blocks.images import Attention, resampled
from flowops.networks.layers import Dropout, convolution, linear


class GroupNorm(nn.Module):
    r"""Group normalization, scaled and shifted per sample: $(1+a)\,(w\hat x+k)+h$ for `scale` $a$ and `shift` $h$.

    Written out, since torch's own has no forward derivative for channels_last before 2.15, does not compile under one,
    and under autocast gives a primal and a tangent of different dtypes. The moments are taken in float32, the result
    has the dtype and the memory format of `x`. There are at least four channels in a group and at most 32 groups.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups = math.gcd(channels, min(32, max(1, channels // 4)))
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        factor: Tensor = self.weight
        offset: Tensor = self.bias
        if scale is not None:
            factor, offset = factor * (1 + scale), offset * (1 + scale)
        if shift is not None:
            offset = offset + shift
        normal = self._normalized(exact)
        return (normal * factor[..., None, None] + offset[..., None, None]).to(x.dtype)

    def _normalized(self, x: Tensor) -> Tensor:
        if x.is_contiguous():  # torch's kernel takes its moments several times faster, and is sound without weights
            return F.group_norm(x, self.groups, eps=self.eps)
        grouped = x.unflatten(1, (self.groups, -1))
        variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
        return ((grouped - mean) * torch.rsqrt(variance + self.eps)).flatten(1, 2)


class Block(nn.Module):
    """A residual block with scale and shift from the conditions `c` `[batch, width]`, and attention after it.

    It begins as the identity (up to resampling and a change of channels): what it adds begins at zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        generator: torch.Generator | None,
        *,
        change: int = 0,
        heads: int = 0,
        dropout: float = 0.0,
        decoder: bool = False,
    ) -> None:
        super().__init__()
        self.change = change
        self.norm0, self.conv0 = GroupNorm(inputs), convolution(inputs, outputs, 3, generator)
        self.affine = linear(width, 2 * outputs, generator)
        self.norm1, self.conv1 = GroupNorm(outputs), convolution(outputs, outputs, 3, generator, scale=0.0)
        self.dropout = Dropout(dropout)
        self.skip = None if inputs == outputs else convolution(inputs, outputs, 1, generator)
        self.attention_norm = GroupNorm(outputs) if heads else None
        self.attention = None
        if heads:
            inward = convolution(outputs, 3 * outputs, 1, generator)
            outward = convolution(outputs, outputs, 1, generator, scale=0.0)
            self.attention = Attention(inward, outward, heads, normalize=False)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        y = self.conv0(resampled(F.silu(self.norm0(x)), self.change))
        y = F.silu(self.norm1(y, *self.affine(c).chunk(2, 1)))
        y = self.conv1(self.dropout(y))
        x = resampled(x, self.change)
        x = y + (x if self.skip is None else self.skip(x))
        if self.attention is None or self.attention_norm is None:
            return x
        return x + self.attention(self.attention_norm(x))


class First(nn.Module):
    """The convolution of the state."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, 3, generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Last(nn.Module):
    """The convolution to the state, zero at initialization."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.norm, self.conv = GroupNorm(inputs), convolution(inputs, outputs, 3, generator, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.norm(x)))


def joined(x: Tensor, skipped: Tensor) -> Tensor:
    """Both, channel beside channel."""
    return torch.cat([x, skipped], 1)


def total(terms: Sequence[tuple[Tensor | float, Tensor]]) -> Tensor:
    """The sum of vectors, each times its gain."""
    return torch.stack([gain * vector for gain, vector in terms]).sum(0)


def activation(x: Tensor) -> Tensor:
    """The function between layers of the conditions."""
    return F.silu(x)


def vectors(table: Tensor) -> Tensor:
    """The vectors of classes as they are."""
    return table

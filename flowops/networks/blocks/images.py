"""What blocks of image networks share: resampling, and attention over the pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops.networks.blocks.attention import attended


def resampled(x: Tensor, change: int) -> Tensor:
    """`x` at half the size for `change` -1 (means of 2x2), at twice the size for 1 (copies), as it is for 0."""
    if change < 0:
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="nearest") if change else x


def unit(x: Tensor, *axes: int, eps: float = 1e-4) -> Tensor:
    r"""$x/\sqrt{\overline{x^2}+\epsilon^2}$ with the mean over `axes`, taken in float32 where `x` is less precise."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    return (exact * torch.rsqrt(exact.square().mean(axes, keepdim=True) + eps**2)).to(x.dtype)


class Attention(nn.Module):
    r"""$\mathrm{softmax}(q^\top k/\sqrt d)\,v$ over the pixels, per head, written out; see `attended`.

    Args:
        inward: module that makes `3 * channels` channels, in which $q,k,v$ stand side by side per head.
        outward: module of the result.
        heads: number of heads; it divides the channels.
        normalize: whether every $q$, $k$ and $v$ is scaled to mean square one, which bounds the weights.
    """

    def __init__(self, inward: nn.Module, outward: nn.Module, heads: int, *, normalize: bool) -> None:
        super().__init__()
        self.inward, self.outward = inward, outward
        self.heads, self.normalize = heads, normalize

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        d = channels // self.heads
        parts = self.inward(x).reshape(batch, self.heads, 3, d, height * width)
        q, k, v = (unit(parts, 3) if self.normalize else parts).unbind(2)
        return self.outward(attended(q, k, v).reshape(batch, channels, height, width))

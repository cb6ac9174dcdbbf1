r"""Blocks of a transformer of rows `[batch, places, width]`, scaled, shifted and gated by the conditions.

With $\hat h$ the rows at mean zero and mean square one, and $a_c,k_c,g_c$ linear in the conditions and zero at
initialization, a part $f$ of a block makes $h+g_c\,f((1+a_c)\,\hat h+k_c)$ of $h$ (adaLN-Zero, 2212.09748 §3.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops.networks.blocks.attention import attended
from flowops.networks.blocks.images import unit
from flowops.networks.layers import Dropout, linear

EPS = 1e-6


def modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    r"""$(1+a)\,\hat h+k$ for `shift` $k$ and `scale` $a$ per sample, `[batch, width]`.

    The norm is written out, since under autocast a tangent through torch's own has another dtype than its value. The
    moments are taken in float32, the result has the dtype of `h`.
    """
    exact = h.to(torch.promote_types(h.dtype, torch.float32))
    variance, mean = torch.var_mean(exact, 2, correction=0, keepdim=True)
    normal = (exact - mean) * torch.rsqrt(variance + EPS)
    return (normal * (1 + scale)[:, None] + shift[:, None]).to(h.dtype)


class Attention(nn.Module):
    r"""$\mathrm{softmax}(q^\top k/\sqrt d)\,v$ over the rows, per head, written out; see `attended`.

    With `normalize` every $q$ and $k$ is scaled to mean square one, which bounds the weights (2302.05442 §2).
    """

    def __init__(self, width: int, heads: int, generator: torch.Generator | None, *, normalize: bool) -> None:
        super().__init__()
        self.inward, self.outward = linear(width, 3 * width, generator), linear(width, width, generator)
        self.heads, self.normalize = heads, normalize

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.inward(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 4, 1).unbind(0)
        if self.normalize:
            q, k = unit(q, 2), unit(k, 2)
        return self.outward(attended(q, k, v).permute(0, 3, 1, 2).flatten(2))


class Block(nn.Module):
    """Attention and then a perceptron of one hidden layer, both residual; the identity at initialization."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        generator: torch.Generator | None,
        *,
        normalize: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.modulation = linear(width, 6 * width, generator, scale=0.0)
        self.attention = Attention(width, heads, generator, normalize=normalize)
        self.inner, self.outer = linear(width, hidden, generator), linear(hidden, width, generator)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(c).chunk(6, 1)
        h = h + gate[:, None] * self.attention(modulated(h, shift, scale))
        y = F.gelu(self.inner(modulated(h, shift2, scale2)), approximate="tanh")
        return h + gate2[:, None] * self.outer(self.dropout(y))


class Last(nn.Module):
    """The linear map to the patches, zero at initialization."""

    def __init__(self, width: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.modulation = linear(width, 2 * width, generator, scale=0.0)
        self.linear = linear(width, outputs, generator, scale=0.0)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        return self.linear(modulated(h, *self.modulation(c).chunk(2, 1)))

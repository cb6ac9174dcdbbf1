r"""Residual blocks that preserve magnitudes: every layer keeps the mean square of what it is given at one.

Weights are normalized where they are used, per output; sums and concatenations are divided by the length of their
coefficients; there are no biases and no group normalization. Source: 2312.02696 (EDM2), configuration G.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops.networks.blocks.images import Attention, resampled, unit
from flowops.networks.layers import Dropout

BALANCE = 0.3  # the share of what a block adds, 2312.02696 B.1


class Weighted(nn.Module):
    r"""A linear map (`kernel` 0) or convolution without bias, its weight of every output scaled to length one.

    The scaling is part of the forward pass and its derivative, which never writes to the stored weight: it may grow
    over a training run, which acts as a slow decay of the learning rate. With `forced` it is stored at length one as
    well, by `after_update`, which the training calls behind every step.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, generator: torch.Generator | None) -> None:
        super().__init__()
        shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator))
        self.forced = False

    @torch.no_grad()
    def after_update(self) -> None:
        """Store the weight of every output at mean square one, where it is forced."""
        if self.forced:
            self.weight.copy_(unit(self.weight, *range(1, self.weight.ndim)))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        w = unit(self.weight, *range(1, self.weight.ndim)) * (gain / math.sqrt(self.weight[0].numel()))
        return F.linear(x, w) if w.ndim == 2 else F.conv2d(x, w, padding=w.shape[-1] // 2)


class Block(nn.Module):
    r"""A residual block scaled by $1+g\,a_c$, $a_c$ linear in the conditions `c`, and attention after it.

    In the encoder pixels are normalized first; in the decoder the change of channels is part of the residual.
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
        self.change, self.decoder = change, decoder
        entering = inputs if decoder else outputs
        self.conv0 = Weighted(entering, outputs, 3, generator)
        self.affine, self.gain = Weighted(width, outputs, 0, generator), nn.Parameter(torch.zeros(()))
        self.dropout = Dropout(dropout)
        self.conv1 = Weighted(outputs, outputs, 3, generator)
        self.skip = None if inputs == outputs else Weighted(inputs, outputs, 1, generator)
        self.attention = None
        if heads:
            inward, outward = Weighted(outputs, 3 * outputs, 1, generator), Weighted(outputs, outputs, 1, generator)
            self.attention = Attention(inward, outward, heads, normalize=True)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x = resampled(x, self.change)
        if not self.decoder:
            x = unit(x if self.skip is None else self.skip(x), 1)
        y = self.conv0(activation(x))
        scale = 1 + self.affine(c, self.gain)
        y = self.conv1(self.dropout(activation(y * scale[:, :, None, None].to(y.dtype))))
        if self.decoder and self.skip is not None:
            x = self.skip(x)
        x = _balanced(x, y)
        return x if self.attention is None else _balanced(x, self.attention(x))


class First(nn.Module):
    """The convolution of the state, with a channel of ones beside it in place of a bias."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.conv = Weighted(inputs + 1, outputs, 3, generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat([x, torch.ones_like(x[:, :1])], 1))


class Last(nn.Module):
    """The convolution to the state times a gain, zero at initialization."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.conv, self.gain = Weighted(inputs, outputs, 3, generator), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.gain)


def _balanced(x: Tensor, y: Tensor) -> Tensor:
    share = BALANCE
    return (x * (1 - share) + y * share) / math.hypot(1 - share, share)


def joined(x: Tensor, skipped: Tensor) -> Tensor:
    """Both, channel beside channel, scaled to contribute alike and to have together the mean square of one of them."""
    n, m = x.shape[1], skipped.shape[1]
    common = math.sqrt((n + m) / 2)
    return torch.cat([x * (common / math.sqrt(n)), skipped * (common / math.sqrt(m))], 1)


def total(terms: Sequence[tuple[Tensor | float, Tensor]]) -> Tensor:
    """The sum of vectors, each times its gain, divided by the length of the gains."""
    vector = terms[0][1]
    ones = vector.new_ones(())  # not a copy from the host, for which it would wait
    gains = torch.stack([gain * ones for gain, _ in terms])
    return torch.stack([gain * vector for gain, vector in terms]).sum(0) * torch.rsqrt(gains.square().sum())


def activation(x: Tensor) -> Tensor:
    """SiLU divided by its root mean square on standard normal values, 0.596."""
    return F.silu(x) / 0.596


def linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Module:
    """A linear map of the conditions."""
    return Weighted(inputs, outputs, 0, generator)


def vectors(table: Tensor) -> Tensor:
    """The vectors of classes, each of mean square one."""
    return unit(table, 1)


def force(module: nn.Module) -> None:
    """Store all weights of a module normalized, from now on behind every update. Source: 2312.02696 §2.3."""
    for part in module.modules():
        if isinstance(part, Weighted):
            part.forced = True
            part.after_update()

r"""The learned weight of pairs of times."""

from __future__ import annotations

import torch
from torch import nn

from flowops._arguments import whole
from flowops._types import PerSample, Times
from flowops.networks.blocks.preserving import Weighted, force, total
from flowops.networks.layers import TimePair, Waves, linear


class LearnedWeight(nn.Module):
    r"""$w_{s,t}$ of the weighted loss $e^{-w_{s,t}}L_{s,t}+w_{s,t}$, zero at initialization.

    At its minimum $e^{w_{s,t}}=L_{s,t}$, so every pair of times contributes alike to the gradient, whatever the size of
    its loss. Because it starts at zero, the weighted loss starts as the plain one.

    Args:
        width: hidden units.
        harmonics: frequencies of the features of $s$ and $t-s$.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: if `width` or `harmonics` is no positive number.

    Source: 2505.18825 eq. (19).
    """

    def __init__(self, width: int = 64, *, harmonics: int = 4, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.times = TimePair(whole(harmonics, "harmonics"))
        self.hidden = linear(self.times.size, whole(width, "width"), generator)
        self.last = linear(width, 1, generator, scale=0.0)

    def forward(self, s: Times, t: Times) -> PerSample:
        features = self.times(s, t).to(self.last.weight.dtype)
        return self.last(torch.tanh(self.hidden(features)))[:, 0].to(s.dtype)


class PositionalWeight(nn.Module):
    r"""$w_{s,t}=\tfrac1{\sqrt n}\,\theta\cdot\tfrac1{\sqrt2}(e(s)+e(t))$, $|\theta|=\sqrt n$, $e$ positional features.

    $\theta$ is drawn normal and is stored normalized behind every update, so that $w$ is of unit size at first and at
    most $\sqrt n$: the loss cannot be weighed away.

    Args:
        channels: number $n$ of features of each time, of angular frequencies from 1 down to $10^{-4}$.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: if `channels` is no positive even number.

    Source: 2312.02696 (EDM2) for one noise level; the code of 2505.18825 for two times.
    """

    def __init__(self, channels: int = 128, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if whole(channels, "channels") % 2:
            raise ValueError(f"`channels` must be even, a cosine and a sine of each frequency, got {channels}.")
        self.start, self.end = (Waves(channels, "positional", 1.0, generator) for _ in range(2))
        self.last = Weighted(channels, 1, 0, generator)
        force(self)

    def forward(self, s: Times, t: Times) -> PerSample:
        features = total([(1.0, self.start(s)), (1.0, self.end(t))])
        return self.last(features.to(self.last.weight.dtype))[:, 0].to(s.dtype)

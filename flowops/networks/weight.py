r"""The learned weight of pairs of times."""

from __future__ import annotations

import torch
from torch import nn

from flowops._arguments import whole
from flowops._types import PerSample, Times
from flowops.networks.layers import TimePair, linear


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

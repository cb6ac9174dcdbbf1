r"""How the loss of a sample depends on its times.

A weight is a positive factor, except the learned one, which is the negative log-likelihood
$e^{-w_{s,t}}L+w_{s,t}$ whose minimizer is $w_{s,t}=\log\mathbb E[L\mid s,t]$: it makes every $(s,t)$ count alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowops._arguments import number


class Weight(nn.Module):
    r"""The weighted loss of each sample."""

    @abstractmethod
    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        r"""The weighted `loss`; `squared` is $|\Delta|^2$. All are `[batch]`."""


class Constant(Weight):
    """`value` times the loss."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = number(value, "weight")
        if self.value <= 0:
            raise ValueError(f"`weight` must be positive, got {value}; leave the term out instead.")

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return loss if self.value == 1 else self.value * loss


class OfTimes(Weight):
    r"""$f(s,t)\,L$ for a function of times `[batch]`."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return self.function(s, t).to(loss.dtype) * loss


class TimePower(Weight):
    r"""$|t-s|^p\,L$; $p=2$ turns a loss in $v_{s,t}$ into one in $X_{s,t}$."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = number(p, "p")

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return ((t - s).abs() ** self.p).to(loss.dtype) * loss


class Adaptive(Weight):
    r"""$\mathrm{sg}(|\Delta|^2+c)^{-p}\,L$.

    The pull of a sample, $2|\Delta|\,(|\Delta|^2+c)^{-p}$, is the same for all with $p=\tfrac12$ and falls with the
    residual with $p=1$, where every loss is the same: towards a median, towards a mode. The minimizer is biased.

    Source: 2505.13447 (22); $p=\tfrac12$ is a pseudo-Huber loss (2406.14548).
    """

    def __init__(self, p: float = 1.0, c: float = 1e-3) -> None:
        super().__init__()
        self.p, self.c = number(p, "p"), number(c, "c")
        if self.p < 0 or self.c <= 0:
            raise ValueError(f"`p` must not be negative and `c` must be positive, got p={p}, c={c}; pass p=1, c=1e-3.")

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return loss if self.p == 0 else (squared.detach() + self.c) ** -self.p * loss


class Learned(Weight):
    r"""$e^{-w_{s,t}}L+w_{s,t}$ with a network $w$ of `(s, t)`, trained together with the map.

    Source: 2505.18825 (19); Karras et al. 2312.02696 (14).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"`network` must be an nn.Module of (s, t), got {type(network).__name__}; wrap it.")
        self.network = network

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        w = self.network(s, t).to(loss.dtype)
        return torch.exp(-w) * loss + w


def as_weight(value: float | Weight | Callable[[Tensor, Tensor], Tensor]) -> Weight:
    """A weight; a number is a constant one, a function of `(s, t)` a factor."""
    if isinstance(value, Weight):
        return value
    if callable(value) and not isinstance(value, nn.Module):
        return OfTimes(value)
    if isinstance(value, nn.Module):
        raise TypeError(
            f"`weight` must be a Weight, got the module {type(value).__name__}; wrap it as Learned(module)."
        )
    return Constant(value)

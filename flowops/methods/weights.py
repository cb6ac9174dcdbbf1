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
from flowops.interpolants import Interpolant, speed


class Weight(nn.Module):
    r"""The weighted loss of each sample.

    Attributes:
        of_schedule: whether it is called with the keyword `interpolant` too.
    """

    of_schedule = False

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


class InverseSpeed(Weight):
    r"""$(c_\tau^2+c_0^2)^{-p/2}L$, with the speed $c_\tau=|(\dot\alpha,\dot\beta,\dot\gamma)_\tau|$ of the interpolant.

    The cure of a loss that is infinite because $\int c_t^2\,dt$ is, as under `cosine` and `variance_preserving`. Flow
    matching with a law of density $\rho$ then minimizes

    $$\int_0^1\frac{\rho_t}{(c_t^2+c_0^2)^{p/2}}\,\mathbb E|v_t(I_t)-\dot I_t|^2\,dt,$$

    another functional than the infinite one, with the same minimizer $b$: a positive factor of the time alone moves no
    conditional mean. With $p=2$ the loss of a sample at $v=0$ is at most $|x_0|^2+|x_1|^2+|z|^2$ whatever the time, so
    that for bounded $v$ and $c_0>0$ mean and variance are finite under every law. Where $c_t$ grows like
    $(1-t)^{-1/2}$, uniform times need $p>0$ for a finite mean and $p>1$ for a finite variance; `UniformAngle` needs
    $p>1$ and $p>\tfrac32$.

    With $c_0=0$, $p=2$, `UniformAngle` and $\alpha^2+\beta^2=1$ it is the flow-matching loss of the trigonometric
    interpolant, up to a constant and sample by sample. A schedule that stands still somewhere wants $c_0>0$.

    Args:
        p: the exponent.
        floor: $c_0$; at 1 the weight is at most 1, and times of slow schedules keep theirs.
        time: $\tau$: "start" $s$, where the rows that follow $\dot I_s$ take it, or "end" $t$, for `fmm`.

    Raises:
        ValueError: unless `p` is positive, `floor` not negative and `time` one of the two.
    """

    of_schedule = True

    def __init__(self, p: float = 2.0, floor: float = 1.0, time: str = "start") -> None:
        super().__init__()
        self.p, self.floor, self.time = number(p, "p"), number(floor, "floor"), time
        if self.p <= 0 or self.floor < 0:
            raise ValueError(
                f"`p` must be positive and `floor` not negative, got p={p}, floor={floor}; pass p=2, floor=1."
            )
        if time not in ("start", "end"):
            raise ValueError(f'`time` must be "start" or "end", got {time!r}; only `fmm` wants "end".')

    def extra_repr(self) -> str:
        """The arguments, so that the repr is the call."""
        return f"p={self.p}, floor={self.floor}, time={self.time!r}"

    def forward(
        self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor, interpolant: Interpolant | None = None
    ) -> Tensor:
        if interpolant is None:
            raise ValueError("`interpolant` must be given to InverseSpeed, got None; pass interpolant=I.")
        c = speed(interpolant, s if self.time == "start" else t)
        return ((c**2 + self.floor**2) ** (-self.p / 2)).to(loss.dtype) * loss


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

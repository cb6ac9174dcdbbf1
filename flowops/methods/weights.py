r"""How the loss of a sample depends on its times.

A weight is a positive factor, except the learned one, which is the negative log-likelihood
$e^{-w_{s,t}}L+w_{s,t}$ whose minimizer is $w_{s,t}=\log\mathbb E[L\mid s,t]$: it makes every $(s,t)$ count alike.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops.interpolants import Interpolant, noise_level, speed
from flowops.networks import LearnedWeight, PositionalWeight


class Weight(nn.Module):
    r"""The weighted loss of each sample.

    Attributes:
        wants: what it is called with besides, by the names that a `TermPoint` has for it, such as `interpolant`.
    """

    wants: tuple[str, ...] = ()

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

    wants = ("interpolant",)

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
        c = speed(given(interpolant, self), s if self.time == "start" else t)
        return ((c**2 + self.floor**2) ** (-self.p / 2)).to(loss.dtype) * loss


class InverseStep(Weight):
    r"""$L/(\sigma_s-\sigma_u)$ with the noise level $\sigma=\alpha/\beta$ and the time $u$ between, for $X_{s,1}$.

    What two sides of a consistent map differ by is of the order of the step: so long and short steps pull alike. A
    positive factor of the times alone moves no conditional mean. A step of length zero has the weight 0.

    Args:
        most: the largest noise level, that of a ladder whose first rung was moved to the time 0, where it is infinite.

    Raises:
        ValueError: unless `most` is positive; when it is called, without an interpolant of two terms or a time between.

    Source: Song, Dhariwal 2310.14189 Table 1, $\lambda(\sigma_i)=1/(\sigma_{i+1}-\sigma_i)$; Geng et al. 2406.14548,
    whose code divides by $t-r$, our $\sigma_s-\sigma_u$.
    """

    wants = ("interpolant", "u")

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__()
        self.most = float(most)
        if not self.most > 0:
            raise ValueError(f"`most` must be positive, got {most}; pass the largest noise level, such as 80.")

    def extra_repr(self) -> str:
        """The arguments, so that the repr is the call."""
        return "" if self.most == float("inf") else f"most={self.most}"

    def forward(
        self,
        loss: Tensor,
        squared: Tensor,
        s: Tensor,
        t: Tensor,
        interpolant: Interpolant | None = None,
        u: Tensor | None = None,
    ) -> Tensor:
        if interpolant is None or u is None:
            raise ValueError(
                "`weight` InverseStep must stand in a row with a time between s and t, such as ict, got one without; "
                "drop it."
            )
        step = noise_level(interpolant, s).clamp(max=self.most) - noise_level(interpolant, u).clamp(max=self.most)
        return torch.where(step > 0, 1 / torch.where(step > 0, step, 1), 0).to(loss.dtype) * loss


class TruncatedSNR(Weight):
    r"""$\max(\beta_s^2/\alpha_s^2,1)\,(\beta_t-\tfrac{\alpha_t}{\alpha_s}\beta_s)^{-2}L$, of a loss in $X_{s,t}$.

    A step $X_{s,t}(x)=\tfrac{\alpha_t}{\alpha_s}x+(\beta_t-\tfrac{\alpha_t}{\alpha_s}\beta_s)\hat x$ of DDIM says which
    data $\hat x$ it goes to. The second factor makes of the squared distance of two steps that of their $\hat x$; the
    first is the truncated signal-to-noise ratio. A step of length zero has the weight 0.

    Raises:
        ValueError: when it is called without an interpolant.

    Source: Salimans, Ho 2202.00512 §4 and App. G; their $\alpha,\sigma$ are our $\beta,\alpha$.
    """

    wants = ("interpolant",)

    def forward(
        self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor, interpolant: Interpolant | None = None
    ) -> Tensor:
        I = given(interpolant, self)
        step = I.beta(t) * I.alpha(s) - I.alpha(t) * I.beta(s)  # the gain of the data times alpha_s
        moves = step != 0
        weight = torch.maximum(I.beta(s) ** 2, I.alpha(s) ** 2) / torch.where(moves, step, 1) ** 2
        return torch.where(moves, weight, 0).to(loss.dtype) * loss


class InverseGuidance(Weight):
    r"""$w^{-p}L$ with the scale $w$ of guidance of each sample, 1 where nothing is guided.

    A guided target grows with its scale, and its square with $w^2$: with $p=2$ the scales of a range count alike. Each
    scale has a map of its own to learn, so that no minimizer moves.

    Raises:
        ValueError: unless `p` is positive.

    Source: Terminal velocity matching, Zhou et al. 2511.19797, whose code multiplies both terms by $w^{-2}$.
    """

    wants = ("guidance",)

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        self.p = number(p, "p")
        if self.p <= 0:
            raise ValueError(f"`p` must be positive, got {p}; pass 2.0, or another weight.")

    def extra_repr(self) -> str:
        """The argument, so that the repr is the call."""
        return f"p={self.p}"

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor, guidance: Tensor | None = None) -> Tensor:
        return loss if guidance is None else (guidance.abs() ** -self.p).to(loss.dtype) * loss


class Denoising(Weight):
    r"""$\frac{\alpha_s^2+\sigma_d^2\beta_s^2}{\sigma_d^2(\alpha_s\dot\beta_s-\dot\alpha_s\beta_s)^2}L$ where $s=t$.

    There it makes of a squared difference of velocities that of the denoisers with the weight
    $\frac{\sigma^2+\sigma_d^2}{(\sigma\sigma_d)^2}$ of EDM, $\sigma=\alpha/\beta$; off the diagonal a loss stays as it
    is.

    Args:
        sigma_data: $\sigma_d$, the deviation of the data.

    Raises:
        ValueError: unless `sigma_data` is positive; when it is called, without an interpolant.

    Source: Karras et al. 2206.00364 Table 1; Kim et al. 2310.02279, whose code has it (`karras_weight`).
    """

    wants = ("interpolant",)

    def __init__(self, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.sigma_data = number(sigma_data, "sigma_data")
        if self.sigma_data <= 0:
            raise ValueError(f"`sigma_data` must be positive, got {sigma_data}; pass the deviation of the data.")

    def extra_repr(self) -> str:
        """The argument, so that the repr is the call."""
        return f"sigma_data={self.sigma_data}"

    def forward(
        self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor, interpolant: Interpolant | None = None
    ) -> Tensor:
        I = given(interpolant, self)
        a, b = I.alpha(s), I.beta(s)
        weight = ((a / self.sigma_data) ** 2 + b**2) / (a * I.beta_dot(s) - b * I.alpha_dot(s)) ** 2
        return torch.where(s == t, weight, 1).to(loss.dtype) * loss


class ShiftedSNR(Weight):
    r"""$\sigma(b-\lambda_s)\,\dot\lambda_s\,\frac{\beta_s^a}{\alpha_s^2+\beta_s^2}L$, $\lambda=\log(\beta^2/\alpha^2)$.

    With $\sigma$ the logistic function it is
    $2\alpha\beta^{a-1}(\alpha\dot\beta-\dot\alpha\beta)\big/\big((\alpha^2+e^{-b}\beta^2)(\alpha^2+\beta^2)\big)$ at
    $s$, finite for $a\ge1$ wherever the schedule's rates are. Half of it stands before the squared discrepancy in the
    source.

    Args:
        b: the shift of the logarithm of the signal-to-noise ratio.
        a: the power, 1 or 2 in the source.

    Raises:
        ValueError: unless `a` is at least 1; when it is called, without an interpolant.

    Source: Zhou, Ermon, Song 2503.07565, as an independent implementation has it: $b=5$, $a=1$ for CIFAR-10.
    """

    wants = ("interpolant",)

    def __init__(self, b: float = 5.0, a: float = 1.0) -> None:
        super().__init__()
        self.b, self.a = number(b, "b"), number(a, "a")
        if self.a < 1:
            raise ValueError(f"`a` must be at least 1, got {a}; below it the weight of noise alone is infinite.")

    def extra_repr(self) -> str:
        """The arguments, so that the repr is the call."""
        return f"b={self.b}, a={self.a}"

    def forward(
        self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor, interpolant: Interpolant | None = None
    ) -> Tensor:
        I = given(interpolant, self)
        alpha, beta = I.alpha(s), I.beta(s)
        rate = alpha * I.beta_dot(s) - beta * I.alpha_dot(s)
        shifted = (alpha**2 + math.exp(-self.b) * beta**2) * (alpha**2 + beta**2)
        return (2 * alpha * beta ** (self.a - 1) * rate / shifted).to(loss.dtype) * loss


def given(interpolant: Interpolant | None, weight: Weight) -> Interpolant:
    """The interpolant that a weight wants."""
    if interpolant is None:
        raise ValueError(f"`interpolant` must be given to {type(weight).__name__}, got None; pass interpolant=I.")
    return interpolant


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


class LearnedPositional(Learned):
    r"""`Learned` with a `PositionalWeight`: linear in positional features of $s$ and $t$, its length held.

    Args:
        channels: number of features of each time.
        seed: of its first parameters.

    Source: the code of 2505.18825.
    """

    def __init__(self, channels: int = 128, seed: int = 0) -> None:
        super().__init__(PositionalWeight(channels, generator=torch.Generator().manual_seed(seed)))


def as_weight(value: float | str | Weight | Callable[[Tensor, Tensor], Tensor]) -> Weight:
    """A weight; a number is a constant one, a function of `(s, t)` a factor, "learned" a new network."""
    if isinstance(value, Weight):
        return value
    if value == "learned":
        return Learned(LearnedWeight(128, generator=torch.Generator().manual_seed(0)))
    if isinstance(value, str):
        raise ValueError(f'`weight` must be a number, a Weight, a function of (s, t) or "learned", got {value!r}.')
    if callable(value) and not isinstance(value, nn.Module):
        return OfTimes(value)
    if isinstance(value, nn.Module):
        raise TypeError(
            f"`weight` must be a Weight, got the module {type(value).__name__}; wrap it as Learned(module)."
        )
    return Constant(value)

r"""What a law of times is, and the laws of one time: objects that draw `n` times, or `n` pairs of times $(s,t)$.

The base (noise) is at time 0 and the data at time 1. A law is a frozen dataclass whose repr reads as the call that made
it. It draws by `draw(request)`; the call checks its arguments once and packs them into the `Request`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops._types import Times
from flowops.interpolants import Interpolant, time_of_noise_level
from flowops.interpolants.interpolant import check_interpolant

Value = TypeVar("Value", covariant=True)


class Pair(NamedTuple):
    """Start times `s` and end times `t`, each `[n]`."""

    s: Times
    t: Times


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of one draw.

    Attributes:
        n: number of draws.
        interpolant: what turns noise levels into times, or None.
        step: training step, which drives curricula; None means their end.
        generator: source of randomness.
        dtype: dtype of the times.
        device: device of the times.
    """

    n: int
    interpolant: Interpolant | None
    step: int | None
    generator: torch.Generator | None
    dtype: torch.dtype
    device: torch.device

    def uniform(self) -> Times:
        """Uniform draws on [0, 1)."""
        return torch.rand(self.n, generator=self.generator, dtype=self.dtype, device=self.device)

    def normal(self) -> Times:
        """Standard normal draws."""
        return torch.randn(self.n, generator=self.generator, dtype=self.dtype, device=self.device)

    def index(self, count: int) -> Tensor:
        """Uniform draws from 0, ..., count - 1."""
        return torch.randint(count, (self.n,), generator=self.generator, device=self.device)

    def permutation(self) -> Tensor:
        """A uniform permutation of the rows."""
        return torch.randperm(self.n, generator=self.generator, device=self.device)

    def schedule(self, law: object) -> Interpolant:
        """The interpolant, for a law that is stated in noise levels."""
        if self.interpolant is None:
            raise ValueError(
                f"`interpolant` must be given to {type(law).__name__}, which is stated in noise levels alpha/beta, got "
                f"None; pass interpolant=I."
            )
        return self.interpolant


class Law(ABC, Generic[Value]):
    """A law of times, or of pairs of times; see `OneTime` and `TimeLaw`."""

    def __call__(
        self,
        n: int,
        *,
        interpolant: Interpolant | None = None,
        step: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Value:
        """`n` draws.

        Args:
            n: number of draws, at least 1.
            interpolant: needed by the laws that are stated in noise levels, ignored by the others.
            step: training step, at least 0, which drives curricula and annealing; None means their end.
            generator: source of randomness, on `device`.
            dtype: torch.float32 or torch.float64.

        Raises:
            TypeError, ValueError: for other arguments, and for a law in noise levels without an interpolant.
        """
        whole(n, "n", 1)
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"`dtype` must be torch.float32 or torch.float64, got {dtype}; times need their digits.")
        if step is not None:
            whole(step, "step", 0)
        if interpolant is not None:
            check_interpolant(interpolant, "interpolant")
        return self.draw(Request(n, interpolant, step, generator, dtype, torch.device(device)))

    @abstractmethod
    def draw(self, request: Request) -> Value:
        """The draws that `request` asks for."""


class OneTime(Law[Tensor]):
    """A law of a single time; a call returns times `[n]`."""


class TimeLaw(Law[Pair]):
    """A law of pairs of times $(s,t)$; a call returns a `Pair`."""


@dataclass(frozen=True)
class Uniform(OneTime):
    r"""Uniform on [`low`, `high`], a part of [0, 1].

    With `high` $=1-\delta$ it truncates a loss that diverges at the data: its minimizer is $b$ up to there and unknown
    beyond. A sampler that stops there too misses the data by
    $W_2\le(d\,\alpha_{1-\delta}^2+(1-\beta_{1-\delta})^2\mathbb E|x_1|^2)^{1/2}$, which single points attain.

    Raises:
        ValueError: unless $0\le$ `low` $<$ `high` $\le1$.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= number(self.low, "low") < number(self.high, "high") <= 1:
            raise ValueError(
                f"`low` and `high` must satisfy 0 <= low < high <= 1, got low = {self.low} and high = {self.high}."
            )

    def draw(self, request: Request) -> Times:
        return (self.low + (self.high - self.low) * request.uniform()).clamp(max=self.high)


@dataclass(frozen=True)
class LogitNormal(OneTime):
    r"""$t=1/(1+e^{-z})$ with $z\sim N(\mathrm{mean},\mathrm{std}^2)$.

    Esser et al. and MeanFlow state it in the same form on clocks that run from data to noise: a law of theirs with mean
    $m$ is ours with mean $-m$ (MeanFlow's $(-0.4,1)$ is `LogitNormal(0.4, 1.0)`).

    Raises:
        ValueError: unless `std` is positive.

    Source: Esser et al. 2403.03206; Geng et al. 2505.13447.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def draw(self, request: Request) -> Times:
        return (self.mean + self.std * request.normal()).sigmoid()


@dataclass(frozen=True)
class LogNoise(OneTime):
    r"""The time at which $\log(\alpha_t/\beta_t)=z$, $z\sim N(\mathrm{mean},\mathrm{std}^2)$.

    The proposals of EDM $(-1.2,1.2)$, iCT and ECT $(-1.1,2)$ and sCM, whose noise level $\sigma$ is our
    $\alpha_t/\beta_t$. Where a paper scales its base by the data's deviation $\sigma_d$ and we divide the data by it,
    $\alpha/\beta=\sigma/\sigma_d$: take `mean` less $\log\sigma_d$ (sCM: $\tan t_{\mathrm{sCM}}=\alpha/\beta$). For the
    linear interpolant it is `LogitNormal(-mean, std)`. Noise levels outside the schedule's range fall on its end times.

    Raises:
        ValueError: unless `std` is positive; at the draw, if no interpolant is given.

    Source: Karras et al. 2206.00364 Table 1; Song, Dhariwal 2310.14189; Geng et al. 2406.14548; Lu, Song 2410.11081.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def draw(self, request: Request) -> Times:
        I = request.schedule(self)
        return time_of_noise_level(I, (self.mean + self.std * request.normal()).exp())


@dataclass(frozen=True)
class UniformAngle(OneTime):
    r"""The time at which $\theta_t=\mathrm{atan2}(\beta_t,\alpha_t)$ is uniform on $[\theta_0,\theta_1]$.

    Its density is $\dot\theta_t/(\theta_1-\theta_0)$: many times where the schedule is fast. For the trigonometric
    interpolant it is `Uniform()`. Alone it makes a loss that diverges diverge faster: where $\alpha_t$ vanishes like
    $\sqrt{1-t}$ the mean of $|\dot I_t|^2$ up to $1-\delta$ grows like $\delta^{-1/2}$, in place of
    $\log(1/\delta)$ under uniform times. It belongs together with `methods.InverseSpeed`: see there.

    Times are moved inside (0, 1), by less than their precision, so that every rate is finite.

    Raises:
        ValueError: at the draw, without an interpolant of two terms whose noise level falls.

    Source: the density $|\dot\theta|$ of importance sampling in the clock of Lu, Song 2410.11081 (TrigFlow).
    """

    def draw(self, request: Request) -> Times:
        I = request.schedule(self)
        u = request.uniform()
        ends = torch.tensor([0.0, 1.0], dtype=request.dtype, device=request.device)
        alpha, beta = I.alpha(ends).detach(), I.beta(ends).detach()
        first, last = torch.atan2(beta[0], alpha[0]), torch.atan2(alpha[1], beta[1])  # each from its own end
        span = math.pi / 2 - first - last
        t = time_of_noise_level(I, (last + span * (1 - u)).sin() / (first + span * u).sin())
        eps = torch.finfo(request.dtype).eps
        return t.clamp(eps**2, 1 - eps / 2)


def _check_normal(mean: float, std: float) -> None:
    number(mean, "mean")
    if number(std, "std") <= 0:
        raise ValueError(f"`std` must be positive, got {std}; pass a positive standard deviation.")


def check_law(law: object, kind: type[OneTime] | type[TimeLaw]) -> None:
    """Refuse a law of the other kind, and anything that is none."""
    if not isinstance(law, kind):
        wanted = (
            "a law of one time, such as Uniform()" if kind is OneTime else "a law of pairs, such as UpperTriangle()"
        )
        raise TypeError(f"`law` must be {wanted}, got {law!r}.")

r"""Laws of one time, in the clock with the base at 0 and the data at 1."""

from __future__ import annotations

from dataclasses import dataclass

from flowops._arguments import number
from flowops._types import Times
from flowops.interpolants.noise_level import time_of_noise_level
from flowops.times.law import OneTime, Request


@dataclass(frozen=True)
class Uniform(OneTime):
    r"""Uniform on [`low`, `high`], a part of [0, 1].

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


def _check_normal(mean: float, std: float) -> None:
    number(mean, "mean")
    if number(std, "std") <= 0:
        raise ValueError(f"`std` must be positive, got {std}; pass a positive standard deviation.")

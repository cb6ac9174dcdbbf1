r"""Adjacent rungs $(s_n,s_{n+1})$ of a ladder of times $0=s_0<\dots<s_N=1$, whose number may grow during training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops.interpolants.noise_level import noise_level, time_of_noise_level
from flowops.times.law import LogNoise, Pair, Request, TimeLaw


@dataclass(frozen=True)
class Karras:
    r"""Noise levels, evenly spaced in their $\rho$-th root.

    $\sigma_n=\big(\sigma_{\max}^{1/\rho}+\tfrac nN(\sigma_{\min}^{1/\rho}-\sigma_{\max}^{1/\rho})\big)^\rho$.

    Raises:
        ValueError: unless $0<\sigma_{\min}<\sigma_{\max}$ and $\rho\ge1$.

    Source: Karras et al. 2206.00364 eq. (5); consistency models count them from the data.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < number(self.sigma_min, "sigma_min") < number(self.sigma_max, "sigma_max"):
            raise ValueError(
                f"`sigma_min` and `sigma_max` must satisfy 0 < sigma_min < sigma_max, got {self.sigma_min} and "
                f"{self.sigma_max}."
            )
        if number(self.rho, "rho") < 1:
            raise ValueError(f"`rho` must be at least 1, got {self.rho}.")

    def levels(self, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`count` noise levels, from `sigma_max` down to `sigma_min`."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return torch.linspace(high, low, count, dtype=dtype, device=device) ** self.rho


@dataclass(frozen=True)
class Geometric:
    r"""Noise levels, evenly spaced in their logarithm: $\sigma_n=\sigma_{\max}^{1-n/N}\,\sigma_{\min}^{n/N}$.

    Raises:
        ValueError: unless $0<\sigma_{\min}<\sigma_{\max}$.

    Source: Lu et al. 2211.01095 (steps even in $\lambda=-\log\sigma$); the code of Hu et al. 2509.24526.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        Karras(1.0, self.sigma_min, self.sigma_max)

    def levels(self, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`count` noise levels, from `sigma_max` down to `sigma_min`."""
        return torch.linspace(
            math.log(self.sigma_max), math.log(self.sigma_min), count, dtype=dtype, device=device
        ).exp()


@dataclass(frozen=True)
class Doubling:
    r"""iCT's number of rungs, $N(k)=\min(s_02^{\lfloor k/K'\rfloor},s_1)+1$: the steps between them double.

    $K'=\lfloor K/(\log_2\lfloor s_1/s_0\rfloor+1)\rfloor$ (at least 1), with $s_0=$ `start` and $s_1=$ `end` steps and
    $K=$ `steps` training steps in all; a step of None gives the end, $s_1+1$.

    Raises:
        ValueError: unless $1\le$ `start` $\le$ `end` and `steps` is at least 1.

    Source: Song, Dhariwal 2310.14189 Table 1.
    """

    start: int = 10
    end: int = 1280
    steps: int = 400_000

    def __post_init__(self) -> None:
        for name in ("start", "end", "steps"):
            whole(getattr(self, name), name, 1)
        if self.end < self.start:
            raise ValueError(f"`end` must be at least `start`, {self.start}, got {self.end}.")

    def __call__(self, step: int | None) -> int:
        """The number of rungs, both ends included, at a training step."""
        if step is None:
            return self.end + 1
        period = max(math.floor(self.steps / (math.log2(self.end // self.start) + 1)), 1)
        doublings = min(step // period, self.end.bit_length())
        return min(self.start * 2**doublings, self.end) + 1


@dataclass(frozen=True)
class SquareRoot:
    r"""The number of rungs of consistency training, whose square grows linearly: from `start` to `end` $+1$.

    $N(k)=\Big\lceil\sqrt{\tfrac kK\big((s_1+1)^2-s_0^2\big)+s_0^2}-1\Big\rceil+1$ with $s_0=$ `start`, $s_1=$ `end` and
    $K=$ `steps` training steps in all; later steps, and None, have the last number.

    Raises:
        ValueError: unless $2\le$ `start` $\le$ `end` and `steps` is at least 1.

    Source: Song et al. 2303.01469, App. C: $s_0=2$, $s_1=150$ and 800,000 steps for CIFAR-10.
    """

    start: int = 2
    end: int = 150
    steps: int = 800_000

    def __post_init__(self) -> None:
        whole(self.start, "start", 2)
        whole(self.steps, "steps", 1)
        if whole(self.end, "end", 2) < self.start:
            raise ValueError(f"`end` must be at least `start`, {self.start}, got {self.end}.")

    def __call__(self, step: int | None) -> int:
        """The number of rungs, both ends included, at a training step."""
        k = self.steps if step is None else min(step, self.steps)
        square = self.start**2 * self.steps + k * ((self.end + 1) ** 2 - self.start**2)  # times the steps, exactly
        root = math.isqrt(square // self.steps)
        return root + int(root**2 * self.steps < square)


@dataclass(frozen=True)
class Ladder(TimeLaw):
    r"""$(s,t)=(s_n,s_{n+1})$ on a ladder $0=s_0<\dots<s_N=1$ of $N+1$ rungs.

    * `rungs`: their number $N+1$, both ends included, or a curriculum: a callable of the training step (or None, for
      its end) such as `Doubling()`.
    * `spacing`: `"uniform"` in time, $s_n=n/N$, or by noise levels, `Karras()` or `Geometric()`. There the first and
      the last rung are moved to the times 0 and 1, where sampling starts and where $X_{1,1}$ is the identity; with the
      matching `edm` interpolant they are there already, with the linear one they move by 0.012 and 0.002.
    * `law` of $n$: `"uniform"`, or `LogNoise(mean, std)`: the mass of that normal law of $\log\sigma$ between the two
      rungs, $\propto\mathrm{erf}\big(\tfrac{\log\sigma_n-m}{\sqrt2\,\mathrm{std}}\big)-\mathrm{erf}(\cdot_{n+1})$; iCT
      takes $(-1.1,2)$.

    Consistency models number noise levels from the data, $\sigma_1<\dots<\sigma_N$; our $n$ counts from the noise.

    Raises:
        ValueError: for fewer than two rungs, an unknown spacing or law; at the draw, if noise levels are used without
            an interpolant, or, on the CPU, rungs coincide because the interpolant does not reach their noise levels.
            On another device, where the host would have to wait for the rungs, every time is NaN then.

    Source: Song et al. 2303.01469; Song, Dhariwal 2310.14189 Table 1.
    """

    rungs: int | Callable[[int | None], int] = 18
    spacing: Literal["uniform"] | Karras | Geometric = "uniform"
    law: Literal["uniform"] | LogNoise = "uniform"

    def __post_init__(self) -> None:
        if not callable(self.rungs):
            whole(self.rungs, "rungs", 2)
        if self.spacing != "uniform" and not isinstance(self.spacing, Karras | Geometric):
            raise ValueError(f'`spacing` must be "uniform" or Karras(...), got {self.spacing!r}.')
        if self.law != "uniform" and not isinstance(self.law, LogNoise):
            raise ValueError(f'`law` must be "uniform" or LogNoise(mean, std), got {self.law!r}.')

    def count(self, step: int | None) -> int:
        """The number of rungs, both ends included, at a training step."""
        return whole(self.rungs(step) if callable(self.rungs) else self.rungs, "rungs", 2)

    def draw(self, request: Request) -> Pair:
        count = self.count(request.step)
        times = self.times(count, request)
        if isinstance(self.law, LogNoise):
            mass = self._mass(self.law, times, request).cumsum(0)
            # unlike `multinomial` of one draw, this never asks the device for a value
            n = torch.searchsorted(mass, request.uniform() * mass[-1], right=True).clamp(max=count - 2)
        else:
            n = request.index(count - 1)
        return Pair(times[n], times[n + 1])

    def times(self, count: int, request: Request) -> Tensor:
        """The times of so many rungs, `[count]`."""
        if not isinstance(self.spacing, Karras | Geometric):
            return torch.arange(count, dtype=request.dtype, device=request.device) / (count - 1)
        I = request.schedule(self)
        times = time_of_noise_level(I, self.spacing.levels(count, request.dtype, request.device))
        times[0], times[-1] = 0.0, 1.0
        distinct = (times.diff() > 0).all()
        if request.device.type == "cpu" and not distinct:
            raise ValueError(
                f"`spacing` must place its rungs at different times, got {self.spacing} with {count} rungs on the "
                f"{I.name} interpolant; keep the noise levels inside its range, or take fewer rungs."
            )
        return torch.where(distinct, times, torch.nan)

    def _mass(self, law: LogNoise, times: Tensor, request: Request) -> Tensor:
        if isinstance(self.spacing, Karras | Geometric):
            sigma = self.spacing.levels(len(times), request.dtype, request.device)
        else:
            sigma = noise_level(request.schedule(self), times).detach()
        below = torch.erf((sigma.log() - law.mean) / (math.sqrt(2) * law.std))
        return -below.diff()

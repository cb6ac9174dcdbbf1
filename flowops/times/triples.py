r"""Laws that say the time $u$ between the two of a pair as well, and the steps of a solver from $s$ to $u$."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops._types import Times
from flowops.interpolants.noise_level import noise_level, time_of_noise_level
from flowops.times.ladder import Geometric, Karras, Ladder
from flowops.times.law import OneTime, Pair, Request, TimeLaw, Uniform, check_law
from flowops.times.pairs import UpperTriangle


class Leap(NamedTuple):
    r"""Times $s\le u\le t$ `[n]` each, and times `[n, m]` of a solver's steps.

    The steps lead from $s$ to $u$, in a single one where there are none. Without a time between they are those of a
    whole trajectory, from 0 to 1.
    """

    s: Times
    u: Times | None
    t: Times
    path: Tensor | None = None


class ThreeTimes(TimeLaw):
    r"""A law of triples $(s,u,t)$: rows that want a time ahead of $s$ or behind $t$ take its $u$, others the pair.

    `alpha-flow` takes the pair too: its time between lies where $\alpha$ says.

    One that says no $u$ says the steps of a trajectory, for rows that take their pairs as they are drawn.
    """

    @abstractmethod
    def triple(self, request: Request) -> Leap:
        """The draws that `request` asks for."""

    def draw(self, request: Request) -> Pair:
        s, _, t, _ = self.triple(request)
        return Pair(s, t)


@dataclass(frozen=True)
class Leaps(ThreeTimes):
    r"""Three rungs $s=s_i$, $u=s_{i+h}$, $t=s_k$, $i<i+h\le k$, of a ladder, with a step for each rung from $s$ to $u$.

    The number of steps is drawn first, $h\in\{1,\dots,N-1\}$ with probability $\propto h$ on $N$ rungs, then $i$ and
    $k$ uniformly among what is left. The source draws one $h$ for a whole batch and counts its rungs from the noise, as
    we do; here each sample has its own, so that the graph is the same at every step.

    Raises:
        ValueError: for fewer than two rungs, or an unknown spacing; at the draw, as `Ladder`.

    Cost: a row with a solver takes $N-1$ steps of it, those of no length included. Source: Kim et al. 2310.02279 §5 and
    their code (`heun_step_strategy="weighted"`).
    """

    rungs: int = 18
    spacing: Karras | Geometric = field(default_factory=Karras)

    def __post_init__(self) -> None:
        Ladder(whole(self.rungs, "rungs", 2), self.spacing)

    def triple(self, request: Request) -> Leap:
        n, times = self.rungs, Ladder(self.rungs, self.spacing).times(self.rungs, request)
        y = n * (n - 1) * request.uniform()
        h = ((y + 0.25).sqrt() + 0.5).floor().clamp(1, n - 1)  # h (h - 1) <= y < h (h + 1)
        i = torch.minimum((request.uniform() * (n - h)).floor(), n - h - 1)
        k = torch.minimum(i + h + (request.uniform() * (n - i - h)).floor(), torch.full_like(i, n - 1))
        s, u, t = (times[index.long()] for index in (i, i + h, k))
        return Leap(s, u, t, torch.minimum(torch.maximum(times, s[:, None]), u[:, None]))


@dataclass(frozen=True)
class Decrement(ThreeTimes):
    r"""$s$ of `law`, $t$ uniform on $[s,$ `last`$]$, and $u\le t$ where the noise level is lower by a constant.

    $\sigma_u=\sigma_s-$ `step` with $\sigma=\alpha/\beta$, and $u=t$ where that is below the noise level of $t$. The
    source's clock has the data at 0: its $r=\max(s,\eta^{-1}(\eta(t)-\epsilon))$ is our $u$.

    Raises:
        ValueError: unless `step` is positive and `last` in [0, 1]; at the draw, without an interpolant.

    Source: Zhou, Ermon, Song 2503.07565: $\epsilon=(160-0)/2^k$, $k=15$, and times in [0.006, 0.994] for CIFAR-10, as
    an independent implementation has it.
    """

    law: OneTime = field(default_factory=lambda: Uniform(0.006, 0.994))
    step: float = 160 / 2**15
    last: float = 0.994

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)
        if number(self.step, "step") <= 0:
            raise ValueError(f"`step` must be positive, got {self.step}; pass the step in noise level, such as 0.005.")
        if not 0 <= number(self.last, "last") <= 1:
            raise ValueError(f"`last` must lie in [0, 1], got {self.last}; pass the latest end time.")

    def triple(self, request: Request) -> Leap:
        I, s = request.schedule(self), self.law.draw(request)
        t = s + (self.last - s).clamp(min=0) * request.uniform()
        u = time_of_noise_level(I, (noise_level(I, s).detach() - self.step).clamp(min=0))
        return Leap(s, torch.minimum(torch.maximum(u, s), t), t)


@dataclass(frozen=True)
class Trajectory(ThreeTimes):
    r"""The pairs of `law`, and the rungs $0=\tau_0<\dots<\tau_N=1$ of a ladder, the same for every sample.

    A row that starts from the trajectory of a solver takes every point of it, each with an end: the part
    $(t-s)/(1-s)$ of the rungs that lie ahead of it. With `EndpointFixed()` that is the last one, a consistency model;
    with `UpperTriangle()`, where the part is uniform whatever $s$ is, it is a uniform one, a flow map.

    Raises:
        ValueError: for fewer than two rungs, or an unknown spacing; at the draw, as `Ladder`.
        TypeError: unless `law` is one of pairs.

    Source: Hu et al. 2509.24526, whose code has 16 steps, even in $\log\sigma$ from 80 to 0.002.
    """

    rungs: int = 17
    spacing: Literal["uniform"] | Karras | Geometric = field(default_factory=Geometric)
    law: TimeLaw = field(default_factory=UpperTriangle)

    def __post_init__(self) -> None:
        Ladder(whole(self.rungs, "rungs", 2), self.spacing)
        check_law(self.law, TimeLaw)

    def triple(self, request: Request) -> Leap:
        s, t = self.law.draw(request)
        times = Ladder(self.rungs, self.spacing).times(self.rungs, request)
        return Leap(s, None, t, times.expand(request.n, -1))

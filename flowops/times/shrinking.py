r"""Pairs whose distance in noise level shrinks in stages: the curriculum of easy consistency tuning."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from flowops._arguments import number, whole
from flowops.interpolants.noise_level import noise_level, time_of_noise_level
from flowops.times.law import LogNoise, OneTime, Pair, Request, TimeLaw, check_law


@dataclass(frozen=True)
class Shrinking(TimeLaw):
    r"""$s$ of `law` at noise level $\sigma$, and $t>s$ at $\sigma'=\sigma\max(1-n(\sigma)/q^a,0)$.

    $n(\sigma)=1+k/(1+e^{b\sigma})$, and $a=\lfloor\mathrm{step}/\mathrm{steps\_per\_stage}\rfloor+1$ is the stage, at
    most `stages`; a step of None is in the last one. Early stages meet $\sigma'=0$ (at $q=2$: for
    $n(\sigma)\ge2$), that is $t=1$, a diffusion model; later ones tend to the continuous-time consistency condition.
    A $\sigma'$ below the schedule's last noise level is at $t=1$ too.

    The source writes $t$ for our $\sigma$ and $r$ for our $\sigma'$, and counts iterations from 1,
    $a=\lceil\mathrm{iteration}/d\rceil$, $d=$ `steps_per_stage`; the number of stages is its training length over $d$.

    Raises:
        ValueError: unless $q>1$, $k\ge0$, $b\ge0$ and the counts are at least 1; at the draw, without an interpolant.

    Source: Geng et al. 2406.14548, the sigmoid mapping.
    """

    law: OneTime = field(default_factory=lambda: LogNoise(-1.1, 2.0))
    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    steps_per_stage: int = 10_000
    stages: int = 8

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)
        if number(self.q, "q") <= 1:
            raise ValueError(f"`q` must exceed 1, got {self.q}; the distance is divided by it from stage to stage.")
        for name in ("k", "b"):
            if number(getattr(self, name), name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        whole(self.steps_per_stage, "steps_per_stage", 1)
        whole(self.stages, "stages", 1)

    def stage(self, step: int | None) -> int:
        """$a$ at a training step; `stages` for None."""
        return self.stages if step is None else min(step // self.steps_per_stage + 1, self.stages)

    def draw(self, request: Request) -> Pair:
        I = request.schedule(self)
        s = self.law.draw(request)
        sigma = noise_level(I, s).detach()
        gap = (1 + self.k * (-self.b * sigma).sigmoid()) / self.q ** self.stage(request.step)
        t = time_of_noise_level(I, sigma * (1 - gap).clamp(min=0))
        return Pair(s, torch.maximum(s, t))

r"""Times of a grid, and dyadic pairs: steps of length $2^{-j}$ from multiples of $2^{-j}$, exact binary numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._types import Times
from flowops.times.law import OneTime, Pair, Request, TimeLaw

_MOST_LEVELS = 24  # a uniform float32 has 24 random bits, so 2^23 starts at the finest level are equally likely


@dataclass(frozen=True)
class Grid(OneTime):
    r"""Uniform on $0,\tfrac1n,\dots,\tfrac{n-1}n$ with $n=$ `steps`.

    Raises:
        ValueError: unless `steps` is at least 1.

    Source: Frans et al. 2410.12557, whose flow-matching times are the starts of the finest of 128 steps.
    """

    steps: int = 128

    def __post_init__(self) -> None:
        whole(self.steps, "steps", 1)

    def draw(self, request: Request) -> Times:
        return request.index(self.steps).to(request.dtype) / self.steps


@dataclass(frozen=True)
class Dyadic(TimeLaw):
    r"""$t-s=2^{-j}$, $j$ uniform on $0,\dots,\mathrm{levels}-1$, and $s$ uniform on the multiples of $2^{-j}$ below 1.

    Shortcut models: the step $d=2^{-j}$ is met by two steps of $2^{-j-1}$, so `levels=7` has the finest grid of 128
    steps. Their clock also has the noise at 0.

    Raises:
        ValueError: unless `levels` is a whole number from 1 to 24.

    Source: Frans et al. 2410.12557.
    """

    levels: int = 7

    def __post_init__(self) -> None:
        _check_levels(self.levels)

    def draw(self, request: Request) -> Pair:
        j = request.index(self.levels)
        return _steps(request, 1 / (torch.ones_like(j) << j).to(request.dtype))


@dataclass(frozen=True)
class InsideSteps(TimeLaw):
    r"""$s$ and $s+2^{-j}$ of `Dyadic(levels)`, $t$ uniform between them: the steps of samplers of $2^j$ equal steps.

    For a row whose residual holds one start time apart from the others, as the Lagrangian one does: along $t$ from $s$
    the equation $\partial_tX_{s,t}=b_t(X_{s,t})$ determines $X_{s,t}$ up to the end of the step, whatever the map is at
    starts that are no multiple of $2^{-j}$. So samplers of $1,2,\dots,2^{\mathrm{levels}-1}$ equal steps are learned,
    and others are not. Rows on the semigroup go through times between, where this law never starts.

    Raises:
        ValueError: unless `levels` is a whole number from 1 to 24.

    Source: the Lagrangian condition of 2505.18825 (8), one start time at a time.
    """

    levels: int = 4

    def __post_init__(self) -> None:
        _check_levels(self.levels)

    def draw(self, request: Request) -> Pair:
        s, end = Dyadic(self.levels).draw(request)
        return Pair(s, (s + (end - s) * request.uniform()).clamp(max=1.0))


@dataclass(frozen=True)
class Halving(TimeLaw):
    r"""$t-s=2^{-j}$ with $j=\mathrm{levels}-r$ in round $r=1,2,\dots$, and $s$ uniform on the multiples of $2^{-j}$.

    Progressive distillation: a round lasts `round_length` training steps and its student takes $2^{\mathrm{levels}-r}$
    steps, each to match two of the teacher, half as many as in the round before; the first teacher takes
    $2^{\mathrm{levels}}$. The last round, of one step $(0,1)$, goes on for ever; a step of None is in it. The source
    counts time from the data.

    Raises:
        ValueError: unless `levels` is a whole number from 1 to 24 and `round_length` at least 1.

    Source: Salimans, Ho 2202.00512, Algorithm 2.
    """

    levels: int
    round_length: int

    def __post_init__(self) -> None:
        _check_levels(self.levels)
        whole(self.round_length, "round_length", 1)

    def level(self, step: int | None) -> int:
        """$j$ at a training step; 0 for None."""
        return 0 if step is None else max(self.levels - 1 - step // self.round_length, 0)

    def draw(self, request: Request) -> Pair:
        width = 2.0 ** -self.level(request.step)
        return _steps(request, torch.full((request.n,), width, dtype=request.dtype, device=request.device))


def _steps(request: Request, width: Tensor) -> Pair:
    """Steps of the given widths, powers of two, from a uniform multiple of the width; all operations are exact."""
    s = (request.uniform() / width).floor() * width
    return Pair(s, s + width)


def _check_levels(levels: int) -> None:
    whole(levels, "levels", 1)
    if levels > _MOST_LEVELS:
        raise ValueError(
            f"`levels` must be at most {_MOST_LEVELS}, since a float32 draw has no more bits, got {levels}."
        )

r"""Pairs that are drawn by their length $t-s$ first."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowops._arguments import number, whole
from flowops.times.law import LogitNormal, OneTime, Pair, Request, TimeLaw, check_law
from flowops.times.pairs import UpperTriangle, within


@dataclass(frozen=True)
class Intervals(TimeLaw):
    r"""$t-s=d$ of `law`, and $s$ uniform on $[0,1-d]$.

    Align Your Flow draws $d=1/(1+e^{-z})$, $z\sim N(P_{mean},P_{std}^2)$, and the end that is nearer to the data
    uniformly. Its clock has the data at 0: reversed, a uniform law stays one, and only the ends change their names.

    Raises:
        TypeError: unless `law` is one of a single time.

    Source: Sabour, Fidler, Kreis 2506.14603, Algorithm 1, as two independent implementations have it.
    """

    law: OneTime = field(default_factory=lambda: LogitNormal(-0.8, 1.0))

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)

    def draw(self, request: Request) -> Pair:
        length = self.law.draw(request)
        s = (1 - length) * request.uniform()
        return Pair(s, (s + length).clamp(max=1.0))


@dataclass(frozen=True)
class Widening(TimeLaw):
    r"""The pairs of `law` with ends at most $\tau$ from their starts, $\tau$ twice as long in every round.

    Progressive flow map matching: in round $r=0,1,\dots$ of `round_length` training steps $\tau=\min(2^r$ `start`$,1)$,
    and the map of the round before, which is right up to $\tau/2$, takes two steps. None stands for the last round.

    Raises:
        ValueError: unless $0<$ `start` $\le1$ and `round_length` is at least 1.

    Source: Boffi, Albergo, Vanden-Eijnden 2505.18825 §B.3, $\tau\to2\tau$; it prints no lengths.
    """

    law: TimeLaw = field(default_factory=UpperTriangle)
    start: float = 1 / 64
    round_length: int = 50_000

    def __post_init__(self) -> None:
        check_law(self.law, TimeLaw)
        if not 0 < number(self.start, "start") <= 1:
            raise ValueError(
                f"`start` must lie in (0, 1], got {self.start}; pass the longest interval of the first round."
            )
        whole(self.round_length, "round_length", 1)

    def longest(self, step: int | None) -> float:
        r"""$\tau$ at a training step; 1 for None."""
        return 1.0 if step is None else min(self.start * 2.0 ** min(step // self.round_length, 64), 1.0)

    def draw(self, request: Request) -> Pair:
        return within(self.law.draw(request), self.longest(request.step))

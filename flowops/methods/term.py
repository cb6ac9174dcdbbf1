r"""A term of a loss as one aligned row: residual x velocity source x stop-gradient x law of the times x share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from flowops.methods.point import Differences, Point
from flowops.methods.sources import Source
from flowops.times import TimeLaw, UpperTriangle

Triple = tuple[Tensor, Tensor | None, Tensor]
Middle = Callable[[Tensor, Tensor, Tensor, SimpleNamespace], Triple]
"""`(s, t, uniform, options) -> (s, u, t)`: what a pair of times of the law becomes."""


def pair(s: Tensor, t: Tensor, _uniform: Tensor, _o: SimpleNamespace) -> Triple:
    """The pair as it is, without a time between."""
    return s, None, t


def diagonal(s: Tensor, _t: Tensor, _uniform: Tensor, _o: SimpleNamespace) -> Triple:
    """The start time of the pair as both times, whatever the law."""
    return s, None, s


def split(s: Tensor, t: Tensor, uniform: Tensor, o: SimpleNamespace) -> Triple:
    r"""$u=\gamma s+(1-\gamma)t$ with $\gamma$ from the options, uniform if it is None."""
    gamma = uniform if o.gamma is None else torch.full_like(uniform, o.gamma)
    return s, torch.lerp(t, s, gamma), t


def rung(s: Tensor, t: Tensor, _uniform: Tensor, _o: SimpleNamespace) -> Triple:
    r"""The law's pair is $(s,u)$, adjacent rungs of a ladder; the end is $t=1$."""
    return s, t, torch.ones_like(s)


def forward_step(s: Tensor, t: Tensor, uniform: Tensor, o: SimpleNamespace) -> Triple:
    r"""$u=s+\varepsilon(t-s)$, uniform between them if $\varepsilon$ is None."""
    return s, torch.lerp(s, t, uniform if o.epsilon is None else o.epsilon), t


def backward_step(s: Tensor, t: Tensor, uniform: Tensor, o: SimpleNamespace) -> Triple:
    r"""$u=t+\varepsilon(s-t)$, uniform between them if $\varepsilon$ is None."""
    return s, torch.lerp(t, s, uniform if o.epsilon is None else o.epsilon), t


def alpha_step(s: Tensor, t: Tensor, _uniform: Tensor, o: SimpleNamespace) -> Triple:
    r"""$u=\alpha t+(1-\alpha)s$."""
    return s, torch.lerp(s, t, o.alpha), t


@dataclass(frozen=True)
class Term:
    r"""One term of a method.

    Attributes:
        sides: the residual, as two sides at a `Point`; its name is that of the term.
        velocity: where the velocity comes from, or None.
        stop: what is under the stop-gradient, in words of mathematics; empty if nothing is.
        law: law of the pair of times; the option `law` replaces that of a method's last term. None stands for the
            last term's law.
        middle: what a pair becomes: `pair`, `diagonal`, `split`, `rung`, `forward_step`, `backward_step`, `alpha_step`.
        share: the part of the batch: `"all"`, `"eta"` (the fraction of the option) or `"rest"`.
        pairs: `"given"`, or `"teacher flow"` to replace the data by the teacher's flow of the base samples.
        guided: whether guidance can reach its velocity.
    """

    sides: Callable[[Point], Differences]
    velocity: Source | None = None
    stop: str = ""
    law: TimeLaw | None = UpperTriangle()
    middle: Middle = pair
    share: str = "all"
    pairs: str = "given"
    guided: bool = True


def rows_of(share: str, n: int, eta: float, chance: Callable[[], float]) -> slice:
    """The part of a batch of `n` that a term sees: a constant size, at least one row where both parts are wanted."""
    if share == "all":
        return slice(0, n)
    if n == 1:
        first = int(chance() < eta)
    else:
        first = min(max(round(eta * n), int(eta > 0)), n - int(eta < 1))
    return slice(0, first) if share == "eta" else slice(first, n)

r"""Laws of pairs of times $(s,t)$, laws that change the pairs of another law, and the triples that residuals want."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops._types import Times
from flowops.times.law import OneTime, Pair, Request, TimeLaw, Uniform, check_law


@dataclass(frozen=True)
class UpperTriangle(TimeLaw):
    r"""Two independent times of `law`, sorted, $s\le t$.

    With `Uniform()` it is uniform on the triangle $0\le s\le t\le1$; with `LogitNormal(...)` it gives MeanFlow's pairs,
    whose larger time $t_{MF}$ (more noise, since that clock has the data at 0) is our $s=1-t_{MF}$ and whose $r$ is our
    $t=1-r$.

    Source: Boffi, Albergo, Vanden-Eijnden 2505.18825; Geng et al. 2505.13447.
    """

    law: OneTime = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)

    def draw(self, request: Request) -> Pair:
        p, q = self.law.draw(request), self.law.draw(request)
        return Pair(torch.minimum(p, q), torch.maximum(p, q))


@dataclass(frozen=True)
class StartEnd(TimeLaw):
    r"""$s$ of `start` and, independent of it, $t$ of `end`, moved up to $s$ where it lies before: $t:=\max(s,t)$.

    The part of the pairs that lies on the diagonal is the probability that an end comes before a start.

    Source: the code of MeanFlow for CIFAR-10 (its sampler v1), $r:=\min(t,r)$ with $t$ and $r$ logit-normal with means
    -0.6 and -4: on our clock `StartEnd(LogitNormal(0.6, 1.6), LogitNormal(4.0, 1.6))`.
    """

    start: OneTime = field(default_factory=Uniform)
    end: OneTime = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        check_law(self.start, OneTime)
        check_law(self.end, OneTime)

    def draw(self, request: Request) -> Pair:
        s, t = self.start.draw(request), self.end.draw(request)
        return Pair(s, torch.maximum(s, t))


@dataclass(frozen=True)
class FullSquare(TimeLaw):
    r"""Two independent times of `law`, in either order, so that maps are learned forward and backward.

    Source: Boffi, Albergo, Vanden-Eijnden 2406.07507.
    """

    law: OneTime = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)

    def draw(self, request: Request) -> Pair:
        return Pair(self.law.draw(request), self.law.draw(request))


@dataclass(frozen=True)
class Diagonal(TimeLaw):
    r"""$s=t$, a time of `law`: where $v_{t,t}=b_t$."""

    law: OneTime = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)

    def draw(self, request: Request) -> Pair:
        t = self.law.draw(request)
        return Pair(t, t)


@dataclass(frozen=True)
class EndpointFixed(TimeLaw):
    r"""$s$ of `law` and $t=$ `end`: consistency models, $X_{s,1}$.

    A law that reaches beyond `end` gives backward pairs, $s>t$.

    Source: Song et al. 2303.01469, whose $f(x,t_{CM})$ is $X_{s,1}(x)$ with more noise at larger $t_{CM}$.
    """

    law: OneTime = field(default_factory=Uniform)
    end: float = 1.0

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)
        _check_unit(self.end, "end")

    def draw(self, request: Request) -> Pair:
        s = self.law.draw(request)
        return Pair(s, torch.full_like(s, self.end))


@dataclass(frozen=True)
class Step(TimeLaw):
    r"""$(s,\,s+\epsilon(1-s))$ with $s$ of `law`: a step over the fraction $\epsilon$ of what is left to the data."""

    law: OneTime = field(default_factory=Uniform)
    epsilon: float = 0.01

    def __post_init__(self) -> None:
        check_law(self.law, OneTime)
        _check_fraction(self.epsilon, "epsilon")

    def draw(self, request: Request) -> Pair:
        s = self.law.draw(request)
        return Pair(s, s + self.epsilon * (1 - s))


@dataclass(frozen=True)
class DataRatio(TimeLaw):
    r"""The pairs of `law`, of which exactly `round(ratio * n)`, chosen at random, are kept; the others get $t:=s$.

    MeanFlow's ratio of $r\ne t$: the state lies at $s=1-t_{MF}$, so it is the end time that moves onto it. The fraction
    $\eta$ on the diagonal of self-distillation is $1-$ `ratio`. `round` takes halves to the even neighbour.

    Raises:
        ValueError: unless $0\le$ `ratio` $\le1$.

    Source: Geng et al. 2505.13447; Boffi, Albergo, Vanden-Eijnden 2505.18825.
    """

    law: TimeLaw = field(default_factory=UpperTriangle)
    ratio: float = 0.25

    def __post_init__(self) -> None:
        check_law(self.law, TimeLaw)
        _check_unit(self.ratio, "ratio")

    def draw(self, request: Request) -> Pair:
        s, t = self.law.draw(request)
        kept = request.permutation() < round(self.ratio * request.n)
        return Pair(s, torch.where(kept, t, s))


@dataclass(frozen=True)
class Annealed(TimeLaw):
    r"""The pairs of `law` with ends that are at most $\delta(k)$ from their starts: $t:=\min(t,s+\delta(k))$.

    $\delta(k)=\mathrm{start}+(1-\mathrm{start})\min((k-\mathrm{after})_+/\mathrm{steps},1)$ at training step $k$, and 1
    for None. The start times stay; of a backward pair the end is $\max(t,s-\delta(k))$. At $\delta=1$ the pairs are
    those of `law`; at $\delta=0$, with `start=0` for the first `after` steps, they lie on the diagonal, where a term
    with the map's own velocity is zero and flow matching is trained alone.

    Raises:
        ValueError: unless $0\le$ `start` $\le1$, `steps` is at least 1 and `after` at least 0.

    Source: Boffi, Albergo, Vanden-Eijnden 2505.18825 §F.2: $\delta(k)=k/N_{anneal}$ after $N_{fm}$ steps.
    Checked by `theory_checks/test_annealing_widens_from_flow_matching.py`.
    """

    law: TimeLaw
    start: float
    steps: int
    after: int = 0

    def __post_init__(self) -> None:
        check_law(self.law, TimeLaw)
        _check_unit(self.start, "start")
        whole(self.steps, "steps", 1)
        whole(self.after, "after", 0)

    def delta(self, step: int | None) -> float:
        r"""$\delta(k)$, the longest interval at a training step; 1 for None."""
        done = 1.0 if step is None else min(max(step - self.after, 0) / self.steps, 1.0)
        return self.start * (1 - done) + done

    def draw(self, request: Request) -> Pair:
        return within(self.law.draw(request), self.delta(request.step))


def within(pair: Pair, length: float) -> Pair:
    """The pairs with ends that are at most `length` from their starts."""
    s, t = pair
    return Pair(s, torch.minimum(torch.maximum(t, s - length), s + length))


Triple = tuple[Times, Times | None, Times]
"""`(s, u, t)`: what a residual is evaluated at; a None says that it wants no time between."""


def as_drawn(s: Times, t: Times, _fraction: Tensor | float) -> Triple:
    """The pair as it is, without a time between."""
    return s, None, t


def on_diagonal(s: Times, _t: Times, _fraction: Tensor | float) -> Triple:
    """The start time of the pair as both times, whatever the law."""
    return s, None, s


def to_end(s: Times, t: Times, _fraction: Tensor | float) -> Triple:
    r"""The pair as $(s,u)$, adjacent rungs of a ladder; the end is $t=1$."""
    return s, t, torch.ones_like(s)


def ahead(s: Times, t: Times, fraction: Tensor | float) -> Triple:
    r"""$u=s+\varepsilon(t-s)$."""
    return s, torch.lerp(s, t, fraction), t


def behind(s: Times, t: Times, fraction: Tensor | float) -> Triple:
    r"""$u=t+\varepsilon(s-t)$."""
    return s, torch.lerp(t, s, fraction), t


def _check_unit(value: float, name: str) -> None:
    if not 0 <= number(value, name) <= 1:
        raise ValueError(f"`{name}` must lie in [0, 1], got {value}.")


def _check_fraction(value: float, name: str) -> None:
    if not 0 < number(value, name) <= 1:
        raise ValueError(f"`{name}` must lie in (0, 1], got {value}.")

"""Where a term is evaluated: everything a residual may ask for, batched throughout."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap
from flowops.residuals import Sides

if TYPE_CHECKING:
    from flowops.methods.sources import Source


class Difference(NamedTuple):
    """Two sides of one shape, and the factor of their squared distance in the loss."""

    left: Tensor
    right: Tensor
    factor: float | Tensor = 1.0


Differences = dict[str, Difference]


class TermDraw(NamedTuple):
    """Everything random in one term, and the part of the batch it is evaluated on."""

    rows: slice
    s: Tensor
    u: Tensor | None
    t: Tensor
    x0: Tensor
    x1: Tensor
    z: Tensor | None
    labels: Tensor | None
    kept: Tensor
    guidance: Tensor | None = None

    def part(self, k: int, n: int) -> TermDraw | None:
        """The rows of the batch that are `k` modulo `n`, numbered anew; None if the term has none of them."""
        start, stop = (-((k - end) // n) for end in (self.rows.start, self.rows.stop))
        if start == stop:
            return None
        own = slice((k - self.rows.start) % n, None, n)
        tensors = (value if value is None else value[own] for value in self[1:])
        return TermDraw(slice(start, stop), *tensors)  # type: ignore[arg-type]


class Draw(NamedTuple):
    """Everything random, or driven by the step, in one call of a method; None for a term without rows."""

    terms: tuple[TermDraw | None, ...]
    seed: Tensor
    warmup: Tensor | None
    alpha: Tensor | None

    def part(self, k: int, n: int) -> Draw:
        r"""Rows $k,k+n,k+2n,\dots$ of the batch, as the draw of a batch of that size.

        The loss of the whole draw is the mean of those of its `n` parts, and so is its gradient: ranks and accumulated
        micro-batches that share one draw follow the same step as one machine. Two exceptions: `contrastive-fm` pairs a
        sample with another one of its own part, so there the equality is one in law; an adaptive solve shares its
        steps among samples, so rows that solve an ODE agree to its tolerance. A part may have no row of a term, which
        then is None and absent from the result's terms.

        Raises:
            ValueError: unless `n` divides the batch and `0 <= k < n`.
        """
        size = max(term.rows.stop for term in self.terms if term is not None)
        if n < 1 or size % n:
            raise ValueError(f"`n` must divide the batch of {size} samples, got {n}; choose a multiple as batch.")
        if not 0 <= k < n:
            raise ValueError(f"`k` must be the number of a part, from 0 to {n - 1}, got {k}; pass one of them.")
        return self._replace(terms=tuple(None if term is None else term.part(k, n) for term in self.terms))


@dataclass(frozen=True, eq=False)
class Point:
    r"""One term's part of a batch.

    Attributes:
        X: the map, conditioned on the labels.
        unconditional: the map on the null label, or None where there is no guidance.
        teacher: a field or a map, conditioned on the labels; None if the caller gave none.
        unguided: the teacher on the null label, or None where there is no guidance.
        interpolant: $I$.
        s: start times `[batch]`.
        u: the time between, or None if the term has none.
        t: end times `[batch]`.
        x: the state at `s`.
        x0: base samples.
        x1: data samples.
        z: latents, or None.
        guidance: scale per sample `[batch]`, or None for 1.
        source: where the velocity comes from.
        frozen: whether the term's stop-gradient is on.
        warmup: how much of the tangent counts, in [0, 1]; None for all of it.
        alpha: the step of `alpha-flow`, None in its limit zero.
        options: the method's options.
    """

    X: FlowMap
    unconditional: FlowMap | None
    teacher: VelocityField | FlowMap | None
    unguided: VelocityField | FlowMap | None
    interpolant: Interpolant
    s: Tensor
    u: Tensor | None
    t: Tensor
    x: Tensor
    x0: Tensor
    x1: Tensor
    z: Tensor | None
    guidance: Tensor | None
    source: Source | None
    frozen: bool
    warmup: Tensor | None
    alpha: Tensor | None
    options: SimpleNamespace

    @property
    def b(self) -> VelocityField:
        """The velocity of this term's source; without a graph if the term is frozen."""
        if self.source is None:
            raise ValueError("This term has no velocity source; give its row one, such as `teacher` or `own`.")
        return Stopped(self.source(self)) if self.frozen else self.source(self)

    @property
    def middle(self) -> Tensor:
        """The time between `s` and `t`."""
        if self.u is None:
            raise ValueError("This term draws no time between s and t; give its row a `middle`.")
        return self.u

    @property
    def target(self) -> FlowMap:
        """The map on the frozen side: the exponential average passed as teacher, or the map itself."""
        return self.teacher if self.options.ema_teacher and isinstance(self.teacher, FlowMap) else self.X


class Stopped(VelocityField):
    r"""$\mathrm{sg}\,b_t(\mathrm{sg}\,x)$: values without a graph."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.b(t.detach(), x.detach()).detach()


def named(name: str, sides: Sides) -> Differences:
    """The two sides of one residual under the name of its term."""
    return {name: Difference(*sides)}

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


class Draw(NamedTuple):
    """Everything random, or driven by the step, in one call of a method; None for a term without rows."""

    terms: tuple[TermDraw | None, ...]
    seed: Tensor
    warmup: Tensor | None
    alpha: Tensor | None


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

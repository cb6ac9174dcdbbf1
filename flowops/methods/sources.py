r"""Where the velocity of a term comes from: a teacher, the map's own diagonal, or the conditional velocity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowops.fields import VelocityField, guided
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, SolutionOperator
from flowops.maps.frozen import FrozenField
from flowops.methods.point import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowops.methods.point import Point


@dataclass(frozen=True)
class Source:
    """A velocity source: its name in the table and how a point gives it."""

    name: str
    field: Callable[[Point], VelocityField]

    def __call__(self, k: Point) -> VelocityField:
        """The field at the point `k`."""
        return self.field(k)


class ConditionalVelocity(VelocityField):
    r"""$\dot I_t(x_0,x_1)$ as a field that ignores its state: right only at $x=I_t(x_0,x_1)$."""

    def __init__(self, interpolant: Interpolant, x0: Tensor, x1: Tensor, z: Tensor | None) -> None:
        super().__init__()
        self.interpolant, self.x0, self.x1, self.z = interpolant, x0, x1, z

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.interpolant.velocity(t, self.x0, self.x1, self.z)


def teacher_field(teacher: VelocityField | FlowMap | None) -> VelocityField:
    """The teacher as a field whose parameters are constants."""
    if not isinstance(teacher, VelocityField):
        hint = "pass teacher.velocity()" if isinstance(teacher, FlowMap) else "pass teacher=b"
        raise TypeError(f"`teacher` must be a VelocityField for this method, got {type(teacher).__name__}; {hint}.")
    return FrozenField(teacher) if any(p.requires_grad for p in teacher.parameters()) else teacher


@torch.compiler.disable  # an adaptive solve cannot be compiled
@torch.no_grad()
def solve(k: Point, s: Tensor, t: Tensor, x: Tensor, rows: Tensor | None = None) -> Tensor:
    r"""$\Phi_{s,t}(x)$ of the teacher: its own value if it is a map, else a solve of its field, guided if asked for."""
    if k.unguided is not None and isinstance(k.teacher, FlowMap):
        raise ValueError("`guidance` must be 1 with a map as teacher, got another scale; pass a field as teacher.")
    flow = k.teacher if isinstance(k.teacher, FlowMap) else SolutionOperator(_teacher(k))
    return (flow if rows is None else flow._rows(rows))(s, t, x)


def _teacher(k: Point) -> VelocityField:
    b = teacher_field(k.teacher)
    return b if k.guidance is None or k.unguided is None else guided(b, teacher_field(k.unguided), k.guidance)


def _own(k: Point) -> VelocityField:
    return k.target.velocity()  # not guided: the diagonal has learned a guided target already


def _conditional(k: Point) -> VelocityField:
    b = ConditionalVelocity(k.interpolant, k.x0, k.x1, k.z)
    if k.guidance is None or k.unconditional is None:
        return b
    return guided(b, Stopped(k.unconditional.velocity()), k.guidance)


TEACHER = Source("teacher", _teacher)
OWN = Source("own", _own)
CONDITIONAL = Source("conditional", _conditional)
TEACHER_OR_CONDITIONAL = Source(
    "teacher, else conditional", lambda k: _conditional(k) if k.teacher is None else _teacher(k)
)
TEACHER_OR_OWN = Source("teacher, else own", lambda k: _own(k) if k.teacher is None else _teacher(k))
FOLLOWED = Source("conditional, or own", lambda k: _own(k) if k.options.follow == "own" else _conditional(k))

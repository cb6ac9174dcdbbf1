r"""Where a term is evaluated: everything that a residual may ask for, and the velocity that the term follows.

A velocity comes from a teacher, from the map's own diagonal $v_{t,t}$, or from the conditional velocity $\dot I_t$.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowops._types import State, Times
from flowops.fields import FrozenField, StoppedField, VelocityField, guided
from flowops.interpolants import Interpolant
from flowops.maps import DDIMStep, FlowMap, SolutionOperator, SolverStep
from flowops.methods.norms import Norm

Teacher = VelocityField | FlowMap | None


class Difference(NamedTuple):
    """Two sides of one shape, the factor of their squared distance, and how much of the options reaches it.

    Not the weights where it is not `weighted`; neither norm nor weights where it has a `norm` of its own.
    """

    left: Tensor
    right: Tensor
    factor: float | Tensor = 1.0
    weighted: bool = True
    norm: Norm | None = None


Differences = dict[str, Difference]


@dataclass(frozen=True)
class VelocitySource:
    """Where the velocity of a term comes from: its name in the table, and the field that it is at a point."""

    name: str
    field: Callable[[TermPoint], VelocityField]


class Operators(NamedTuple):
    """The operators of a term, conditioned on its labels.

    Attributes:
        X: the map.
        teacher: a field or a map; None if the caller gave none.
        average: the exponential average of the map; None if the caller gave none.
        unconditional: the map on the null label, or None where there is no guidance.
        unguided: the teacher on the null label, or None where there is no guidance.
        guidance: scale per sample `[batch]`, or None for 1.
        conditional: the map on the labels at scale 1, where it is its own velocity that is guided; else None.
        interval: the times at which velocities are guided, or None for all.
    """

    X: FlowMap
    teacher: Teacher
    average: FlowMap | None
    unconditional: FlowMap | None = None
    unguided: Teacher = None
    guidance: Tensor | None = None
    conditional: FlowMap | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class TermPoint:
    r"""One term's part of a batch.

    Attributes:
        X, teacher, average, unconditional, unguided, guidance, conditional, interval: as in `Operators`.
        schedule: the interpolant, or None where the user gave the states.
        s: start times `[batch]`.
        u: the time between, or None if the term has none.
        t: end times `[batch]`.
        x: the state at `s`.
        x0: base samples, or the user's states.
        x1: data samples; of the user's states the same.
        z: latents, or None.
        probes: signs `[batch, n, *event]` of estimates of a divergence, or None for the exact one.
        source: where the velocity comes from.
        frozen: whether the term's stop-gradient is on.
        warmup: how much of the tangent counts, in [0, 1]; None for all of it.
        alpha: the step of `alpha-flow`, None in its limit zero.
        options: the method's options.
    """

    X: FlowMap
    teacher: Teacher
    average: FlowMap | None
    unconditional: FlowMap | None
    unguided: Teacher
    guidance: Tensor | None
    conditional: FlowMap | None
    interval: tuple[float, float] | None
    schedule: Interpolant | None
    s: Tensor
    u: Tensor | None
    t: Tensor
    x: Tensor
    x0: Tensor
    x1: Tensor
    z: Tensor | None
    probes: Tensor | None
    source: VelocitySource | None
    frozen: bool
    warmup: Tensor | None
    alpha: Tensor | None
    options: Any

    @property
    def interpolant(self) -> Interpolant:
        """$I$."""
        if self.schedule is None:
            raise ValueError("`interpolant` must be given to what asks for one, got states in its place; pass samples.")
        return self.schedule

    @property
    def b(self) -> VelocityField:
        """The velocity of this term's source; a residual calls it without recording a graph where it is frozen."""
        if self.source is None:
            raise ValueError("This term has no velocity source; give its row one, such as TEACHER or OWN.")
        return self.source.field(self)

    @property
    def middle(self) -> Tensor:
        """The time between `s` and `t`."""
        if self.u is None:
            raise ValueError("This term draws no time between s and t; give its row a `middle`.")
        return self.u

    @property
    def target(self) -> FlowMap:
        """The map on the frozen side: its exponential average, or the map itself."""
        return self.average if self.options.ema_teacher and self.average is not None else self.X

    @property
    def flow(self) -> FlowMap:
        """The teacher as a map: itself, or `steps` steps of a solver along its field."""
        return stepped(self, self.options, self.schedule)

    def solution(self, s: Tensor, t: Tensor, x: Tensor, rows: Tensor | None = None) -> Tensor:
        r"""$\Phi_{s,t}(x)$ of the teacher: its value if it is a map, else a solve of its field, guided if asked for."""
        return teacher_solution(self, s, t, x, rows)


class ConditionalVelocity(VelocityField):
    r"""$\dot I_t(x_0,x_1)$ as a field that ignores its state: right only at $x=I_t(x_0,x_1)$."""

    def __init__(self, interpolant: Interpolant, x0: Tensor, x1: Tensor, z: Tensor | None) -> None:
        super().__init__()
        self.interpolant, self.x0, self.x1, self.z = interpolant, x0, x1, z

    def forward(self, t: Times, x: State) -> State:
        return self.interpolant.combination("derivative", t, self.x0, self.x1, self.z)


def teacher_field(teacher: Teacher) -> VelocityField:
    """The teacher as a field whose parameters are constants."""
    if not isinstance(teacher, VelocityField):
        hint = "pass teacher.velocity()" if isinstance(teacher, FlowMap) else "pass teacher=b"
        raise TypeError(f"`teacher` must be a VelocityField for this method, got {type(teacher).__name__}; {hint}.")
    return FrozenField(teacher) if any(p.requires_grad for p in teacher.parameters()) else teacher


def guided_teacher(k: Operators | TermPoint) -> VelocityField:
    """The field of the teacher, guided where there is a scale."""
    b = teacher_field(k.teacher)
    if k.guidance is None or k.unguided is None:
        return b
    return guided(b, teacher_field(k.unguided), k.guidance, k.interval)


def along(b: VelocityField, solver: str, interpolant: Interpolant | None, steps: int = 1) -> FlowMap:
    """Equal steps of the option `solver` along a field, as a map."""
    if solver != "ddim":
        return SolverStep(b, solver, steps)
    if interpolant is None:
        raise ValueError('`solver` must be another one with states=..., got "ddim", which steps in an interpolant.')
    return DDIMStep(b, interpolant, steps)


def stepped(k: Operators | TermPoint, o: Any, interpolant: Interpolant | None) -> FlowMap:
    """The teacher's map, or `steps` equal steps of the solver along its field, guided where there is a scale."""
    if isinstance(k.teacher, FlowMap):
        return _unguided(k.teacher, k.unguided)
    return along(guided_teacher(k), o.solver, interpolant, o.steps)


def _unguided(teacher: FlowMap, unguided: Teacher) -> FlowMap:
    if unguided is not None:
        raise ValueError("`guidance` must be 1 with a map as teacher, got another scale; pass a field as teacher.")
    return teacher


@torch.compiler.disable  # an adaptive solve cannot be compiled
@torch.no_grad()
def teacher_solution(k: Operators | TermPoint, s: Tensor, t: Tensor, x: Tensor, rows: Tensor | None = None) -> Tensor:
    r"""$\Phi_{s,t}(x)$ of the teacher, on some rows of its conditions where `rows` are given."""
    if isinstance(k.teacher, FlowMap):
        flow = _unguided(k.teacher, k.unguided)
    else:
        flow = SolutionOperator(guided_teacher(k))
    return (flow if rows is None else flow.subset(rows))(s, t, x)


def _own(k: TermPoint) -> VelocityField:
    if k.conditional is None or k.unconditional is None or k.guidance is None:
        return k.target.velocity()  # not guided: the diagonal has learned a guided target already
    return guided(k.conditional.velocity(), k.unconditional.velocity(), k.guidance, k.interval)


def _conditional(k: TermPoint) -> VelocityField:
    assert k.schedule is not None  # states are refused for rows that ask for more than a teacher
    b = ConditionalVelocity(k.schedule, k.x0, k.x1, k.z)
    if k.guidance is None or k.unconditional is None:
        return b
    target = guided(b, StoppedField(k.unconditional.velocity()), k.guidance, k.interval)
    if not k.options.mix:
        return target
    share = torch.zeros_like(k.guidance).masked_fill(k.guidance != 1, k.options.mix)
    return guided(target, StoppedField(k.X.velocity()), 1 - share, k.interval)


TEACHER = VelocitySource("teacher", guided_teacher)
OWN = VelocitySource("own", _own)
CONDITIONAL = VelocitySource("conditional", _conditional)
TEACHER_OR_CONDITIONAL = VelocitySource(
    "teacher, else conditional", lambda k: _conditional(k) if k.teacher is None else guided_teacher(k)
)
TEACHER_OR_OWN = VelocitySource("teacher, else own", lambda k: _own(k) if k.teacher is None else guided_teacher(k))

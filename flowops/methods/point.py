r"""Where a term is evaluated: everything that a residual may ask for, and the velocity that the term follows.

A velocity comes from a teacher, from the map's own diagonal $v_{t,t}$, or from the conditional velocity $\dot I_t$.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from flowops._operator import condition_of
from flowops._types import State, Times
from flowops.fields import FrozenField, StoppedField, VelocityField, guided
from flowops.interpolants import Interpolant
from flowops.maps import DDIMStep, DPMSolver, FlowMap, SolutionOperator, SolverStep
from flowops.methods.guidance import at_one, share_of_own
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
        interval: the times at which velocities are guided, one pair or one per sample `[batch, 2]`; None for all.
    """

    X: FlowMap
    teacher: Teacher
    average: FlowMap | None
    unconditional: FlowMap | None = None
    unguided: Teacher = None
    guidance: Tensor | None = None
    conditional: FlowMap | None = None
    interval: tuple[float, float] | Tensor | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class TermPoint:
    r"""One term's part of a batch.

    Attributes:
        X, teacher, average, unconditional, unguided, guidance, conditional, interval: as in `Operators`.
        schedule: the interpolant, or None where the user gave the states.
        s: start times `[batch]`.
        u: the time between, or None if the term has none.
        t: end times `[batch]`.
        path: the times `[batch, m]` of a solver's steps from `s` to `u`, or of a whole trajectory; None for one step.
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
    interval: tuple[float, float] | Tensor | None
    schedule: Interpolant | None
    s: Tensor
    u: Tensor | None
    t: Tensor
    path: Tensor | None
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


EXPONENTIAL = {"ddim": DDIMStep, "dpm-solver": DPMSolver}
"""Solvers that step in an interpolant, by the names of the option."""


def along(b: VelocityField, solver: str, interpolant: Interpolant | None, steps: int = 1) -> FlowMap:
    """Equal steps of the option `solver` along a field, as a map."""
    if solver not in EXPONENTIAL:
        return SolverStep(b, solver, steps)
    if interpolant is None:
        raise ValueError(
            f'`solver` must be another one with states=..., got "{solver}", which steps in an interpolant.'
        )
    return EXPONENTIAL[solver](b, interpolant, steps)


def states_along(k: TermPoint, times: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """The states at all of these times, from `x` at the first on, a step of the solver or the teacher's map to each."""
    if isinstance(k.teacher, FlowMap):
        return list(_unguided(k.teacher, k.unguided).compose(times, x, trajectory=True))
    step = along(guided_teacher(k), k.options.solver, k.schedule)
    if isinstance(step, DDIMStep):
        return step.trajectory(times, x)
    return list(step.compose(times, x, trajectory=True))


def stepped(k: Operators | TermPoint, o: Any, interpolant: Interpolant | None) -> FlowMap:
    """The teacher's map, or `steps` equal steps of the solver along its field, guided where there is a scale."""
    if isinstance(k.teacher, FlowMap):
        return _unguided(k.teacher, k.unguided)
    return along(guided_teacher(k), o.solver, interpolant, o.steps)


def _unguided(teacher: FlowMap, unguided: Teacher) -> FlowMap:
    if unguided is not None:
        raise ValueError("`guidance` must be 1 with a map as teacher, got another scale; pass a field as teacher.")
    return teacher


@_disable_dynamo  # an adaptive solve cannot be compiled; torch.compiler.disable would load the compiler
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
        # not guided: the diagonal, or the second output, has learned a guided target already
        return k.target.auxiliary() if k.options.auxiliary else k.target.velocity()
    return guided(k.conditional.velocity(), k.unconditional.velocity(), k.guidance, k.interval)


def _conditional(k: TermPoint) -> VelocityField:
    assert k.schedule is not None  # states are refused for rows that ask for more than a teacher
    b = ConditionalVelocity(k.schedule, k.x0, k.x1, k.z)
    if k.guidance is None or k.unconditional is None:
        return b
    null, own = (X.auxiliary() if k.options.auxiliary else X.velocity() for X in (k.unconditional, k.X))
    target = guided(b, StoppedField(null), k.guidance, k.interval)
    if not k.options.mix:
        return target
    return guided(target, StoppedField(own), 1 - share_of_own(k.options.mix, k.guidance), k.interval)


TEACHER = VelocitySource("teacher", guided_teacher)
OWN = VelocitySource("own", _own)
CONDITIONAL = VelocitySource("conditional", _conditional)
TEACHER_OR_CONDITIONAL = VelocitySource(
    "teacher, else conditional", lambda k: _conditional(k) if k.teacher is None else guided_teacher(k)
)
TEACHER_OR_OWN = VelocitySource("teacher, else own", lambda k: _own(k) if k.teacher is None else guided_teacher(k))


def conditioned(
    plain: Operators,
    o: Any,
    source: VelocitySource | None,
    labels: Tensor,
    told: Mapping[str, Tensor],
    kept: Tensor,
    dtype: torch.dtype,
) -> Operators:
    """The operators on the labels of a term, and where it is guided those that guidance takes besides.

    Args:
        plain: the operators without conditions.
        o: the method's options.
        source: where the term's velocity comes from.
        labels: one per sample.
        told: what the map is told of its guidance, scales and intervals per sample; nothing of those of the options.
        kept: whether the label of a sample was not dropped.
        dtype: of the states.
    """
    own = o.guides == "own"
    name = condition_of(plain.X, labels)
    X = plain.X.given(**{name: labels}, **told)
    average = None if plain.average is None else plain.average.given(**{name: labels}, **told)
    teacher = _given(plain.teacher, labels)
    if o.guidance == 1 or (own and source is CONDITIONAL):
        return Operators(X, teacher, average)
    null = torch.full_like(labels, null_label_of(plain.X, o.null_label))
    one = at_one(told)
    held = plain.average if own and o.ema_teacher and plain.average is not None else plain.X
    unconditional, unguided = held.given(**{name: null}, **one), _given(plain.teacher, null)
    scale = told["guidance"] if told else torch.where(kept, o.guidance, 1.0)
    if told and isinstance(teacher, FlowMap) and teacher.takes("guidance"):
        known = {name: value for name, value in told.items() if teacher.takes(name)}
        teacher, unguided = teacher.given(**known), None  # it is a guided flow itself
    conditional = held.given(**{name: labels}, **one) if own else None
    guidance = scale.to(dtype)
    interval = told.get("interval", o.guidance_interval)
    return Operators(X, teacher, average, unconditional, unguided, guidance, conditional, interval)


def augmented(X: FlowMap, teacher: Teacher, average: FlowMap | None, augment: Tensor) -> Operators:
    """The operators that are told what was done to the data, those of them that can be."""
    average = None if average is None else average.given(augment=augment)
    if teacher is not None and teacher.takes("augment"):
        teacher = teacher.given(augment=augment)
    return Operators(X.given(augment=augment), teacher, average)


def _given(teacher: Teacher, labels: Tensor) -> Teacher:
    """The teacher on these labels, if it takes any."""
    if teacher is None or not teacher.takes(name := condition_of(teacher, labels)):
        return teacher
    return teacher.given(**{name: labels})


def null_label_of(X: nn.Module, given: int | None = None) -> float:
    """The label that stands for none: the one given, or the `null_label` of a network inside; nan of a condition.

    Raises:
        ValueError: if there is none.
    """
    if given is not None:
        return int(given)
    for module in X.modules():
        if isinstance(label := getattr(module, "null_label", None), int | float):
            return label
    raise ValueError(
        "`null_label` must be known to drop labels or to guide, got None and no network with a `null_label`; pass it "
        "as an option."
    )

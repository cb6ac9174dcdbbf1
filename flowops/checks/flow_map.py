r"""Whether a map is the flow map of a field: its equations in their logical order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import per_event
from flowops._types import Jacobian, State, TimeLike, Times
from flowops.checks.derivatives import Differenced, values_only
from flowops.checks.draws import WIDE, Draws, States, draw, tolerance_of
from flowops.checks.examination import Compared, Statement, Undecidable, examine
from flowops.checks.growth import growth, size, steepness
from flowops.checks.report import Report
from flowops.fields import VelocityField
from flowops.fields.velocity_field import check_velocity_field
from flowops.maps import FlowMap

PAPER = "2505.18825"
RULES = ("dt", "ds", "jvp", "material_derivative", "vjp", "jacobian", "log_abs_det")
_FEW = 6  # samples of what costs more than a call; the edges of the horizon
_AGREE = 1e-3  # how far forward mode may be from differences, relatively, to be believed


def check_flow_map(
    X: FlowMap,
    b: VelocityField | None = None,
    *,
    horizon: tuple[float, float] = (0.0, 1.0),
    states: States = None,
    event: Sequence[int] = (2,),
    tolerance: float | None = None,
    n: int | None = None,
    seconds: float = 40.0,
    seed: int = 0,
    name: str = "the map",
) -> Report:
    r"""Whether $X_{s,t}$ is the flow map of $b$: every equation of `flowops.residuals`, the first broken one named.

    In logical order: samples do not interact, digits, identity, tangent, Lagrangian, Eulerian and semigroup for
    $s\le u\le t$, inverse (which is what the map backward has to be), Liouville, average velocity, forward mode, and
    the map's own derivative rules. The derivatives of the equations are never the map's own: forward mode through its
    values, or differences of them where forward mode cannot pass or is not their derivative. A difference of the sides
    is measured against their size and against what errors grow by on the way, $\|\nabla X\|$ along the trajectory and
    $\|\nabla b\|$; samples of which that leaves nothing to say are left out, and so is a statement that has none left.

    Args:
        X: the map.
        b: its field; the one it implies on its diagonal if None, of which the tangent condition says nothing.
        horizon: the first and the last time.
        states: a tensor `[n, *event]`, or a sampler of `(n, generator)`; standard normal if None.
        event: shape of a state if there are no `states`.
        tolerance: what counts as zero; 1e-9 in float64, 4e-4 in float32. A map that is solved or learned to fewer
            digits wants more.
        n: number of samples; 24, or 8 of states of more than 64 numbers.
        seconds: of processor time; a statement that is not decided by then stays so.
        seed: of times, states and directions.
        name: of the map in the report.

    Returns:
        The report; `report.holds`, `report.first_broken`, and a table when printed.

    Raises:
        TypeError: if `X` is no `FlowMap`, or `b` no `VelocityField`.
        ValueError: for a horizon, states or a tolerance that are none.

    >>> from flowops import problems
    >>> problem = problems.rotation(2.0)
    >>> check_flow_map(problem.X, problem.b).holds
    True
    >>> euler = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * problem.b(s, x))
    >>> check_flow_map(euler, problem.b).first_broken.name
    'Lagrangian'

    Cost: about sixty calls of the map on `n` to `16 n` samples, for a state of a few numbers. Source: 2505.18825, Lemma
    2.1, Prop. 2.2.
    """
    _check_kinds(X, b)
    draws = draw([X, *([] if b is None else [b])], horizon, states, event, n, seed)
    limit = tolerance_of(tolerance, draws.x)
    d = draws.first(2)
    return examine(name, statements(Subject(X, b, draws, limit)), limit, seconds, lambda: X(d.s, d.t, d.x))


@dataclass(frozen=True)
class Subject:
    """A map, its field if it is known, where they are looked at, and what counts as zero."""

    X: FlowMap
    b: VelocityField | None
    draws: Draws
    tolerance: float

    @cached_property
    def forward_mode(self) -> Compared:
        """The derivative in $t$ and along a direction: by forward mode, and by differences."""
        d, X = self.draws.first(_FEW), values_only(self.X)
        by_differences, by_half = self.differences
        left = torch.stack([X.dt(d.s, d.t, d.x), X.jvp(d.s, d.t, d.x, d.directions())], 1)
        right, half = (
            torch.stack([route.dt(d.s, d.t, d.x), route.jvp(d.s, d.t, d.x, d.directions())], 1)
            for route in (by_differences, by_half)
        )
        scale = 1 + size(half) + self.grown[: len(d.x)]
        return Compared(left, half, {"s": d.s, "t": d.t}, d.x, scale, 2 * size(right - half), "forward mode")

    @cached_property
    def differences(self) -> tuple[FlowMap, FlowMap]:
        """Two routes of differences, the second with half the step of the first."""
        first = Differenced(self.X, horizon=self.draws.horizon)
        return first, Differenced(self.X, first.step / 2, self.draws.horizon)

    @cached_property
    def routes(self) -> tuple[FlowMap, ...]:
        """The map with derivatives of its values: by forward mode, or by two differences."""
        try:
            believed = self.forward_mode
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            return self.differences
        return (values_only(self.X),) if bool((believed.residuals() <= _AGREE).all()) else self.differences

    @cached_property
    def field(self) -> VelocityField:
        """The field, or the one that the values imply."""
        return self.routes[-1].velocity() if self.b is None else self.b

    def growth(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """What errors grow by between two times."""
        return growth(self.X, s, t, x, self.draws.seed)

    @cached_property
    def few(self) -> Draws:
        """As many samples as a Jacobian is affordable for."""
        d = self.draws
        return d.first(_FEW if d.size <= 8 else 2 if d.size <= WIDE else 1)

    @cached_property
    def determinants(self) -> Compared:
        """The determinant of the Jacobian and the divergence along the way."""
        return liouville(self)

    @cached_property
    def grown(self) -> Tensor:
        """What errors grow by from `s` to `t` of the draws."""
        return self.growth(self.draws.s, self.draws.t, self.draws.x)


class Known(FlowMap):
    """A map with a Jacobian that was taken before, at the times and states at which it is asked for."""

    def __init__(self, X: FlowMap, known: Tensor) -> None:
        super().__init__()
        self.X, self.known = X, known

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self.X(s, t, x)

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        """The Jacobian that is known."""
        return self.known


def statements(subject: Subject) -> list[Statement]:
    """What is to hold of a map, in logical order."""
    d = subject.draws
    known = [
        Statement("Samples: X of a batch is X of each of its samples", "docs/notation.md", lambda: alone(subject.X, d)),
        Statement("Digits: X keeps the precision of its state", "docs/notation.md", lambda: digits(subject), 0.1),
        *equations(subject),
        Statement("Average velocity: X = x + (t-s) v", f"{PAPER} (6)", lambda: average_velocity(subject)),
        Statement("Forward mode: it is the derivative of the values", "torch.func", lambda: forward_mode(subject)),
    ]
    if overridden(subject.X):
        text = "Rules: own derivatives are those of the values"
        known.append(Statement(text, "docs/operators.md", lambda: own_rules(subject)))
    return known


def equations(subject: Subject) -> list[Statement]:
    """What the flow map of a field satisfies, in logical order; the tangent condition only if the field is known."""
    known = [Statement("Identity: X_{t,t}(x) = x", f"{PAPER} (4)", lambda: identity(subject))]
    if subject.b is not None:
        text = "Tangent: d/dt X_{s,t}(x) -> b_t(x) as s -> t"
        known.append(Statement(text, f"{PAPER} Lemma 2.1 (5)", lambda: tangent(subject)))
    return known + [
        Statement(
            "Lagrangian: d/dt X_{s,t}(x) = b_t(X_{s,t}(x))", f"{PAPER} Prop. 2.2 (8)", lambda: lagrangian(subject)
        ),
        Statement("Eulerian: d/ds X_{s,t}(x) = -grad X b_s(x)", f"{PAPER} Prop. 2.2 (9)", lambda: eulerian(subject)),
        Statement("Semigroup: X_{u,t}(X_{s,u}(x)) = X_{s,t}(x)", f"{PAPER} Prop. 2.2 (10)", lambda: semigroup(subject)),
        Statement("Inverse: X_{t,s}(X_{s,t}(x)) = x", f"{PAPER} after (10)", lambda: inverse(subject)),
        Statement("Liouville: log |det grad X| = int div b", "Liouville; 2303.08797", lambda: subject.determinants),
    ]


def alone(X: FlowMap, d: Draws) -> Compared:
    """Samples one by one against the batch."""
    d = d.first(_FEW)
    rows = torch.arange(len(d.x)).split(1)
    each = torch.cat([X.subset(row)(d.s[row], d.t[row], d.x[row]) for row in rows])
    whole = X.subset(torch.arange(len(d.x)))(d.s, d.t, d.x)
    return Compared(whole, each, {"s": d.s, "t": d.t}, d.x, growth(X, d.s, d.t, d.x, d.seed))


def digits(subject: Subject) -> Compared:
    """The images of two states that differ in digits which single precision does not have."""
    d = subject.draws
    u = d.directions()
    near, far = (torch.finfo(d.x.dtype).eps ** power for power in (0.57, 0.25))  # 1e-9 and 1e-4 in float64
    value = subject.X(d.s, d.t, d.x)
    slope = (subject.X(d.s, d.t, d.x + far * u) - value) / far
    left, right = subject.X(d.s, d.t, d.x + near * u) - value, near * slope
    return Compared(value + left, value + right, {"s": d.s, "t": d.t}, d.x, subject.grown, near * far * size(slope))


def identity(subject: Subject) -> Compared:
    """The map from a time to the same time."""
    d = subject.draws
    left, right = residuals.identity(subject.X, d.t, d.x, parts=True)
    return Compared(left, right, {"t": d.t}, d.x, 1 + size(d.x))


def tangent(subject: Subject) -> Compared:
    """The slope of the values on the diagonal against the field."""
    d = subject.draws
    sides = [residuals.tangent(route, subject.field, d.t, d.x, parts=True) for route in subject.routes]
    steep = steepness(subject.field, d.t, d.x, d.seed)
    scale = 1 + size(sides[-1].right) + steep * (1 + size(d.x)) * _rounding(subject)
    left, right = sides[-1]
    return Compared(left, right, {"t": d.t}, d.x, scale, _error(sides))


def lagrangian(subject: Subject) -> Compared:
    """The derivative in the end time against the field there."""
    d = subject.draws
    sides = [residuals.lagrangian(X, subject.field, d.s, d.t, d.x, parts=True) for X in subject.routes]
    steep = steepness(subject.field, d.t, subject.X(d.s, d.t, d.x).detach(), d.seed)
    scale = 1 + size(sides[-1].right) + (1 + steep) * subject.grown
    left, right = sides[-1]
    return Compared(left, right, {"s": d.s, "t": d.t}, d.x, scale, _error(sides))


def eulerian(subject: Subject) -> Compared:
    """The derivative in the start time against that along the field."""
    d = subject.draws
    sides = [residuals.eulerian(X, subject.field, d.s, d.t, d.x, parts=True) for X in subject.routes]
    steep = steepness(subject.field, d.s, d.x, d.seed)
    speed = size(subject.field(d.s, d.x)) / (1 + size(d.x))
    scale = 1 + size(sides[-1].right) + (1 + steep + speed) * subject.grown
    left, right = sides[-1]
    return Compared(left, right, {"s": d.s, "t": d.t}, d.x, scale, _error(sides))


def semigroup(subject: Subject) -> Compared:
    """Two steps against one."""
    d = subject.draws
    left, right = residuals.semigroup(subject.X, d.s, d.u, d.t, d.x, parts=True)
    return Compared(left, right, {"s": d.s, "u": d.u, "t": d.t}, d.x, subject.grown)


def inverse(subject: Subject) -> Compared:
    """Forward and back again."""
    d = subject.draws
    there = subject.X(d.s, d.t, d.x).detach()
    left, right = residuals.inverse(subject.X, d.s, d.t, d.x, parts=True)
    return Compared(left, right, {"s": d.s, "t": d.t}, d.x, subject.growth(d.t, d.s, there))


def liouville(subject: Subject) -> Compared:
    """The determinant of the Jacobian against the divergence along the way."""
    d, b = subject.few, subject.field
    jacobians = [X.jacobian(d.s, d.t, d.x) for X in subject.routes]
    X = Known(subject.X, jacobians[-1])
    coarse, fine = (residuals.liouville(X, b, d.s, d.t, d.x, nodes=nodes, parts=True) for nodes in (20, 40))
    values = torch.linalg.svdvals(jacobians[-1].reshape(len(d.x), d.size, d.size)).clamp(min=1e-300)
    # relative errors of singular values: those of the entries of the Jacobian over the smallest one
    scale = 1 + fine.left.abs() + d.size * subject.grown[: len(d.x)] / values[:, -1]
    error = 2 * (fine.right - coarse.right).abs() + 2 * d.size * size(jacobians[-1] - jacobians[0]) / values[:, -1]
    return Compared(fine.left, fine.right, {"s": d.s, "t": d.t}, d.x, scale, error)


def average_velocity(subject: Subject) -> Compared:
    """The map from its own average velocity."""
    d = subject.draws
    own = type(subject.X).average_velocity is not FlowMap.average_velocity
    X = subject.X if own else subject.routes[-1]  # the generic rule takes a derivative of the values
    v, value = X.average_velocity(d.s, d.t, d.x), subject.X(d.s, d.t, d.x)
    return Compared(d.x + per_event(d.t - d.s, d.x) * v, value, {"s": d.s, "t": d.t}, d.x, subject.grown)


def forward_mode(subject: Subject) -> Compared:
    """Forward mode through the values against differences of them."""
    try:
        return subject.forward_mode
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        message = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise Undecidable(f"forward mode does not pass, differences took its place ({message})") from None


def own_rules(subject: Subject) -> Iterator[Compared]:
    """Every rule that the map's class has of its own against the generic one."""
    d = subject.few.first(4)
    u = d.directions()
    steep = 1 + steepness(subject.field, d.s, d.x, d.seed) + size(subject.field(d.s, d.x))
    scale = steep * subject.grown[: len(d.x)] * (1 + size(u))
    for rule in overridden(subject.X):
        extra = (u,) if rule in ("jvp", "material_derivative", "vjp") else ()
        own = getattr(subject.X, rule)(d.s, d.t, d.x, *extra)
        if rule == "log_abs_det":
            known = subject.determinants.first(len(d.x))
            yield replace(known, left=own, right=known.left, of=rule)
            continue
        generic = [getattr(route, rule)(d.s, d.t, d.x, *extra) for route in subject.routes]
        error = 2 * size(generic[-1] - generic[0])
        yield Compared(own, generic[-1], {"s": d.s, "t": d.t}, d.x, scale, error, rule)


def overridden(X: FlowMap) -> tuple[str, ...]:
    """The derivative rules that the class of a map has of its own."""
    return tuple(rule for rule in RULES if getattr(type(X), rule) is not getattr(FlowMap, rule))


def _error(sides: Sequence[residuals.Sides]) -> Tensor:
    """What differences err by: twice how far two of them are apart; nothing by forward mode."""
    first, last = (side.left - side.right for side in (sides[0], sides[-1]))
    return 2 * size(last - first)


def _rounding(subject: Subject) -> float:
    """The rounding of a state in units of the tolerance."""
    return torch.finfo(subject.draws.x.dtype).eps / subject.tolerance


def _check_kinds(X: FlowMap, b: VelocityField | None) -> None:
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap it with FlowMap.from_function.")
    if b is not None:
        check_velocity_field(b)

r"""Whether a velocity field is one, and whether the map that is solved from it is its flow map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowops._solvers import SolverError
from flowops.checks.derivatives import Differenced, density_slopes, field_values
from flowops.checks.draws import WIDE, Draws, States, draw, tolerance_of
from flowops.checks.examination import Compared, Statement, Undecidable, examine
from flowops.checks.flow_map import PAPER, Subject, equations
from flowops.checks.growth import size, steepness
from flowops.checks.report import Report
from flowops.fields import VelocityField
from flowops.fields.velocity_field import check_velocity_field
from flowops.maps import FlowMap, SolutionOperator

LogDensity = Callable[[Tensor, Tensor], Tensor]
RULES = ("dt", "jvp", "vjp", "jacobian", "divergence")
_STEPS = 2_000  # of the explicit solve that finds out whether a field is stiff
_STIFF: dict[str, Any] = {"method": "rodas5p", "rtol": 1e-8, "atol": 1e-8}
_LOOSE = 1e3  # what the implicit method allows, in units of the explicit one
_PEERS = 3  # samples that SciPy solves too


def check_field(
    b: VelocityField,
    *,
    log_density: LogDensity | None = None,
    horizon: tuple[float, float] = (0.0, 1.0),
    states: States = None,
    event: Sequence[int] = (2,),
    tolerance: float | None = None,
    n: int | None = None,
    seconds: float = 40.0,
    seed: int = 0,
    name: str = "the field",
) -> Report:
    r"""Whether $b$ is a field that can be solved, and the solution its flow map; the first broken equation named.

    In logical order: samples do not interact, digits, derivatives (forward mode and the field's own rules against
    differences), continuity with `log_density`, solutions (they exist on the horizon), trajectories (those of SciPy),
    and the equations of `check_flow_map` for the solved map. A stiff field is solved by `rodas5p`, to fewer digits, and
    the solution line says so. Tolerances know how errors grow, so that chaotic fields pass; what takes too long is not
    decided.

    Args:
        b: the field.
        log_density: $\log\rho_t(x)$ as a differentiable function of times `[n]` and states, `[n]`; the law that the
            field is meant to transport.
        horizon: the first and the last time.
        states: a tensor `[n, *event]`, or a sampler of `(n, generator)`; standard normal if None.
        event: shape of a state if there are no `states`.
        tolerance: what counts as zero; 1e-9 in float64, 4e-4 in float32.
        n: number of samples; 24, or 8 of states of more than 64 numbers.
        seconds: of processor time; a statement that is not decided by then stays so.
        seed: of times, states and directions.
        name: of the field in the report.

    Raises:
        TypeError: if `b` is no `VelocityField`.
        ValueError: for a horizon, states or a tolerance that are none.

    >>> b = VelocityField.from_function(lambda t, x: torch.stack([x[:, 1], -x[:, 0].sin()], 1))
    >>> check_field(b, horizon=(0.0, 3.0)).holds
    True

    Cost: that of `check_flow_map` of a solved map, and three solves by SciPy. Source: 2505.18825, (2), Lemma 2.1,
    Prop. 2.2.
    """
    check_velocity_field(b)
    draws = draw([b], horizon, states, event, n, seed)
    limit = tolerance_of(tolerance, draws.x)
    d = draws.first(2)
    return examine(name, statements(Field(b, draws, limit, log_density)), limit, seconds, lambda: b(d.s, d.x))


@dataclass(frozen=True)
class Solved:
    """A map that is solved, the samples that it reaches, and how."""

    X: FlowMap
    draws: Draws
    stiff: bool
    lost: int
    why: str


@dataclass(frozen=True)
class Field:
    """A field, where it is looked at, what counts as zero, and the law that it is meant to transport."""

    b: VelocityField
    draws: Draws
    tolerance: float
    log_density: LogDensity | None

    @cached_property
    def solved(self) -> Solved:
        """The map on the samples that can be solved over the horizon: implicitly if more of them are solved so."""
        d, (start, end) = self.draws, self.draws.horizon
        X = SolutionOperator(self.b, max_steps=_STEPS, on_failure="nan")
        failed, stiff = X.solve(start, end, d.x)[1].failed, False
        if bool(failed.any()) and d.x.dtype == torch.float64 and d.size <= WIDE:
            implicit = SolutionOperator(self.b, **_STIFF, max_steps=_STEPS, on_failure="nan")
            still = implicit.solve(start, end, d.x)[1].failed
            if stiff := bool(still.sum() < failed.sum()):
                X, failed = implicit, still
        why = _reason(X, d.rows(failed.nonzero()[:1, 0])) if bool(failed.any()) else ""
        reached = (~failed).nonzero()[:, 0]
        map_ = SolutionOperator(self.b, **_STIFF) if stiff else SolutionOperator(self.b)
        return Solved(map_, d.rows(reached), stiff, len(d.x) - len(reached), why)

    @cached_property
    def subject(self) -> Subject:
        """The solved map as a map to check.

        Raises:
            Undecidable: if no sample could be solved.
        """
        if not len(self.solved.draws.x):
            raise Undecidable(f"no trajectory could be solved ({self.solved.why})")
        return Subject(self.solved.X, self.b, self.solved.draws, self.tolerance * self.looser)

    @property
    def looser(self) -> float:
        """What the tolerance is multiplied by for a solution of fewer digits."""
        return _LOOSE if self.solved.stiff else 1.0


def statements(field: Field) -> list[Statement]:
    """What is to hold of a field, in logical order."""
    b, d = field.b, field.draws
    known = [
        Statement("Samples: b of a batch is b of each of its samples", "docs/notation.md", lambda: alone(b, d)),
        Statement("Digits: b keeps the precision of its state", "docs/notation.md", lambda: digits(b, d), 0.1),
        Statement("Derivatives: forward mode and own rules are those of the values", "torch.func", lambda: rules(b, d)),
    ]
    if field.log_density is not None:
        equation = "Continuity: d/dt log rho + div b + b . grad log rho = 0"
        known.append(Statement(equation, f"{PAPER} Lemma A.1 (23)", lambda: continuity(field)))
    known += [
        Statement("Solutions: they exist on the horizon", f"{PAPER} (2)", lambda: solutions(field)),
        Statement("Trajectories: X_{s,t}(x_s) = x_t, by SciPy", f"{PAPER} (4)", lambda: trajectories(field)),
    ]
    template = equations(Subject(b.flow_map(), b, d, field.tolerance))
    return known + [_of_the_map(field, statement, position) for position, statement in enumerate(template)]


def _of_the_map(field: Field, statement: Statement, position: int) -> Statement:
    """One of the equations for the solved map, which is there only when it is looked at."""

    def compare() -> list[Compared]:
        sides = equations(field.subject)[position].compare()
        found = [sides] if isinstance(sides, Compared) else list(sides)
        return [replace(one, scale=field.looser * one.scale) for one in found]

    return replace(statement, compare=compare)


def alone(b: VelocityField, d: Draws) -> Compared:
    """Samples one by one against the batch."""
    d = d.first(6)
    rows = torch.arange(len(d.x)).split(1)
    each = torch.cat([b.subset(row)(d.s[row], d.x[row]) for row in rows])
    whole = b.subset(torch.arange(len(d.x)))(d.s, d.x)
    return Compared(whole, each, {"t": d.s}, d.x, 1 + size(each) + steepness(b, d.s, d.x, d.seed))


def digits(b: VelocityField, d: Draws) -> Compared:
    """The values at two states that differ in digits which single precision does not have."""
    u, value = d.directions(), b(d.s, d.x)
    near, far = (torch.finfo(d.x.dtype).eps ** power for power in (0.57, 0.25))
    slope = (b(d.s, d.x + far * u) - value) / far
    left, right = b(d.s, d.x + near * u), value + near * slope
    scale = 1 + size(value) + steepness(b, d.s, d.x, d.seed) * (1 + size(d.x))
    return Compared(left, right, {"t": d.s}, d.x, scale, near * far * size(slope) * (1 + size(u)))


def rules(b: VelocityField, d: Draws) -> Iterator[Compared]:
    """Forward mode against differences, and every rule of the field's own class against forward mode."""
    d = d.first(6)
    u, plain = d.directions(), field_values(b)
    as_map = FlowMap.from_function(lambda _, t, x: b(t, x))
    coarse, fine = (Differenced(as_map, step, d.horizon) for step in (0.004, 0.002))
    scale = (1 + size(b(d.s, d.x)) + steepness(b, d.s, d.x, d.seed) * (1 + size(d.x))) * (1 + size(u))
    for rule in ("dt", "jvp"):
        arguments = (d.x, u) if rule == "jvp" else (d.x,)
        left = getattr(plain, rule)(d.s, *arguments)
        far, right = (getattr(route, rule)(d.s, d.s, *arguments) for route in (coarse, fine))
        noise = torch.finfo(d.x.dtype).eps / 0.002 / (d.horizon[1] - d.horizon[0]) * scale
        yield Compared(left, right, {"t": d.s}, d.x, scale, 2 * size(far - right) + noise, f"{rule} by forward mode")
    d = d.first(6 if d.size <= WIDE else 1)
    for rule in RULES:
        if getattr(type(b), rule) is not getattr(VelocityField, rule):
            extra = (u[: len(d.x)],) if rule in ("jvp", "vjp") else ()
            own, generic = (getattr(field, rule)(d.s, d.x, *extra) for field in (b, plain))
            yield Compared(own, generic, {"t": d.s}, d.x, d.size * scale[: len(d.x)], of=f"rule {rule}")


def continuity(field: Field) -> Compared:
    """The rate of the log-density along trajectories and minus the divergence."""
    d, b = field.draws, field.b
    assert field.log_density is not None
    dt, score = density_slopes(field.log_density, d.s, d.x)
    value, divergence = b(d.s, d.x).detach(), b.divergence(d.s, d.x).detach()
    transport = (value * score).reshape(len(d.x), -1)
    scale = 1 + dt.abs() + divergence.abs() + transport.abs().sum(1)
    return Compared(dt + transport.sum(1), -divergence, {"t": d.s}, d.x, scale)


def solutions(field: Field) -> Compared:
    """The trajectories through the states over the horizon.

    Raises:
        Undecidable: if some could not be solved.
    """
    solved = field.solved
    if solved.lost:
        raise Undecidable(f"{solved.lost} of {len(field.draws.x)} trajectories could not be solved: {solved.why}")
    start, end = field.draws.horizon
    x = solved.draws.x
    reached = solved.X(start, end, x)
    how = f"stiff, solved by {_STIFF['method']} to {_STIFF['rtol']:.0e}" if solved.stiff else ""
    ends = {"s": torch.full_like(solved.draws.s, start), "t": torch.full_like(solved.draws.t, end)}
    return Compared(reached, reached, ends, x, 1 + size(reached), remark=how)


def trajectories(field: Field) -> Compared:
    """The solved map against SciPy's solvers: DOP853, or LSODA for a stiff field."""
    subject = field.subject
    d = subject.draws.first(_PEERS)
    truth = torch.stack(
        [_by_scipy(field.b, d.rows(row), field.solved.stiff) for row in torch.arange(len(d.x)).split(1)]
    )
    scale = field.looser * subject.growth(d.s, d.t, d.x)
    return Compared(subject.X(d.s, d.t, d.x), truth, {"s": d.s, "t": d.t}, d.x, scale)


def _by_scipy(b: VelocityField, d: Draws, stiff: bool) -> Tensor:
    """The state at the end time of one sample."""
    from scipy.integrate import solve_ivp

    if bool(d.s == d.t):
        return d.x[0]
    s, t = float(d.s), float(d.t)

    def slope(time: float, y: NDArray[np.floating]) -> NDArray[np.floating]:
        state = torch.from_numpy(y).reshape(d.x.shape).to(d.x.dtype)
        return b(min(max(time, s), t), state).detach().double().reshape(-1).numpy()

    single = d.x.dtype == torch.float32
    rtol, atol = (1e-6, 1e-7) if single else (1e-10, 1e-11) if stiff else (1e-12, 1e-13)
    method = "LSODA" if stiff else "DOP853"
    solved = solve_ivp(slope, (s, t), d.x.double().reshape(-1).numpy(), method=method, rtol=rtol, atol=atol)
    if not solved.success:
        raise Undecidable(f"SciPy's {method} gave up: {solved.message}")
    return torch.from_numpy(solved.y[:, -1]).reshape(d.x.shape[1:]).to(d.x.dtype)


def _reason(X: SolutionOperator, d: Draws) -> str:
    """Why a trajectory cannot be solved."""
    try:
        options = {name: getattr(X.solver, name) for name in ("method", "rtol", "atol", "max_steps")}
        SolutionOperator(X.b, **options)(*d.horizon, d.x)
    except SolverError as error:
        return f"from x = {[round(float(v), 6) for v in d.x.reshape(-1)[:6]]}, {str(error).rstrip('.')}"
    return "it could not be solved in a batch"

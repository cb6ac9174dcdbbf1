"""The exact operators that every identity runs over, and the user's own beside them or in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, SolutionOperator, VelocityField, interpolants, problems
from flowops._derivatives import is_concrete, is_tracked
from flowops._solvers import Solver
from flowops.checks import Request
from flowops.problems.reference import gaussian_parameters as gaussian_parameters
from theory_checks.controls import Differenced, values_only
from theory_checks.strategies import SmoothField, normal

CLOSED_FORM = 1e-8  # float64, exact formulas
SOLVED = 1e-7  # float64, solves to ENOUGH or better
SINGLE = 2e-6  # float32: sixteen roundings
ENOUGH = 1e-9  # tolerances of a solve whose residuals may reach SOLVED: half the steps of the default ones
REMEMBERED = 64  # results of a map that solves for ground truth
ROUGH = {"checkerboard", "empirical"}  # problems whose field is not Lipschitz at the data: no case of the identities


@dataclass(frozen=True)
class Case:
    """A field and its flow map.

    Attributes:
        name: identifier in test names.
        b: the field.
        X: its flow map.
        event: shape of one state.
        tolerance: what residuals may reach in float64, relative to `scale`.
        draw: states from a number and a seed.
        fine: the map as exactly as it can be had, for difference quotients.
        derive: a map of the same values whose derivatives know no rule of its own; forward mode, or differences where
            forward mode cannot pass.
        nodes: quadrature points that resolve the divergence along trajectories.
        kink: a time at which the field is not smooth, so that a quadrature must not cross it.
    """

    name: str
    b: VelocityField
    X: FlowMap
    event: tuple[int, ...]
    tolerance: float
    draw: Callable[[int, int], Tensor]
    fine: FlowMap
    derive: Callable[[FlowMap], FlowMap]
    nodes: int = 64
    kink: float | None = None

    def states(self, n: int, seed: int) -> Tensor:
        """`n` float64 states, the same for the same seed."""
        return self.draw(n, seed)

    def scale(self, s: Any, t: Any, x: Tensor) -> Tensor:
        """The size of each sample's end point and of its derivatives, which its residual is measured against.

        A closed form says it for free; for a solved map the size of the start point has to do.
        """
        if self.fine is not self.X:
            return 1 + size(x)
        value, dt = self.X.value_and_dt(s, t, x)
        return 1 + size(value) + size(dt) + size(self.X.ds(s, t, x))


def size(x: Tensor) -> Tensor:
    """The largest entry of every sample, `[batch, 1, ...]`."""
    return x.detach().abs().reshape(len(x), -1).amax(1).reshape(-1, *[1] * (x.ndim - 1))


Factory = Callable[[Interpolant], problems.Problem]
OWN: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """A reference problem of your own: every check that runs over `problems.REFERENCE` runs over it too.

    Args:
        name: of its cases.
        factory: the problem for an interpolant, which one that is given by its ODE alone need not look at.

    Raises:
        ValueError: for a name that is taken.
    """
    if name in problems.REFERENCE or OWN.get(name, factory) is not factory:
        raise ValueError(f"`name` must be a new one, got {name!r}, which is a problem already; choose another.")
    OWN[name] = factory


def schedule_cases() -> dict[str, Interpolant]:
    """Every named schedule, always the same objects."""
    return dict(_schedules())


@cache
def _schedules() -> dict[str, Interpolant]:
    return {name: factory() for name, factory in interpolants.NAMED.items()}


def gaussian(I: Interpolant) -> problems.Problem:
    """A planar Gaussian target with full covariance."""
    return problems.REFERENCE["gaussian"](I)


def exact_map(problem: problems.Problem) -> FlowMap:
    """The closed-form map of a problem that has one."""
    if problem.X is None:
        raise ValueError(f"{problem.name} has no closed-form map; take problem.b.flow_map().")
    return problem.X


def random_gaussian(I: Interpolant, dimension: int, seed: int) -> problems.Problem:
    """A Gaussian target of any dimension, with a random mean and full covariance."""
    factor = normal(seed, dimension, dimension)
    covariance = factor @ factor.T / dimension + 0.1 * torch.eye(dimension, dtype=torch.float64)
    return problems.gaussian(normal(seed + 1, dimension), covariance, I)


def mixture(I: Interpolant) -> problems.Problem:
    """A planar target of three modes, one of them with a full covariance."""
    return problems.REFERENCE["mixture"](I)


def data_problems(I: Interpolant) -> dict[str, problems.Problem]:
    """Every problem with an interpolant, by name."""
    return {name: problem for name, problem in _every_problem(I).items() if problem.interpolant is not None}


def pure_problems() -> dict[str, problems.Problem]:
    """Every problem given by its ODE alone, by name."""
    every = _every_problem(interpolants.linear())
    return {name: problem for name, problem in every.items() if problem.interpolant is None}


def _every_problem(I: Interpolant) -> dict[str, problems.Problem]:
    return _made(I, (*problems.REFERENCE.items(), *OWN.items()))


@lru_cache(maxsize=64)
def _made(I: Interpolant, table: tuple[tuple[str, Factory], ...]) -> dict[str, problems.Problem]:
    return {name: make(I) for name, make in table}


def _normal_states(event: tuple[int, ...], n: int, seed: int) -> Tensor:
    return normal(seed, n, *event)


@cache
def _solved_cases() -> tuple[Case, ...]:
    cases = []
    for event in ((), (3,), (2, 2, 2)):
        b = SmoothField(event, seed=7).requires_grad_(False)
        name = "smooth field " + "x".join(map(str, event or (1,)))
        cases.append(_solved(name, b, event, partial(_normal_states, event), ours=True))
    return tuple(cases)


def exact_cases(own: Interpolant | None) -> list[Case]:
    """The maps of every reference problem, and of random smooth fields.

    Closed forms run under every schedule. Where there is none the field is solved, under one schedule, unless it is
    `ROUGH`.
    """
    cases = [] if own else [_case(name, problem, ours=name not in OWN) for name, problem in pure_problems().items()]
    for schedule, I in ({"user": own} if own else schedule_cases()).items():
        kink = 0.5 if schedule == "encoding_decoding" else None
        closed = {name: problem for name, problem in data_problems(I).items() if problem.X is not None}
        cases += [_case(f"{name} {schedule}", problem, kink) for name, problem in closed.items()]
    for name, problem in data_problems(own or interpolants.trigonometric()).items():
        if problem.X is None and name not in ROUGH:
            cases.append(_case(f"{name} solved", problem, ours=own is None and name not in OWN))
    return cases if own else cases + list(_solved_cases())


def named_cases(*names: str) -> list[Case]:
    """Some of the exact cases, for statements that need no more; in their order."""
    return [case for case in exact_cases(None) if case.name in names]


def draw(problem: problems.Problem, t: Any, n: int, *, seed: int) -> Tensor:
    """`n` float64 draws of the problem's law at time `t`."""
    return problem.sample(t, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _sampler(problem: problems.Problem) -> Callable[[int, int], Tensor]:
    return lambda n, seed: draw(problem, 0.5, n, seed=seed)


def _case(name: str, problem: problems.Problem, kink: float | None = None, ours: bool = False) -> Case:
    b, X, event, sampler = problem.b, problem.X, tuple(problem.event), _sampler(problem)
    if X is None:
        return _solved(name, b, event, sampler, ours=ours)
    return Case(name, b, X, event, CLOSED_FORM, sampler, X, values_only, kink=kink)


def _solved(
    name: str,
    b: VelocityField,
    event: tuple[int, ...],
    draw: Callable[[int, int], Tensor],
    *,
    nodes: int = 64,
    tolerance: float = SOLVED,
    ours: bool = False,
) -> Case:
    X, fine = (solved(b), Remembering) if ours else (SolutionOperator(b), SolutionOperator)
    return Case(name, b, X, event, tolerance, draw, fine(b, rtol=1e-12, atol=1e-12), Differenced, nodes)


class Remembering(SolutionOperator):
    """A solve that remembers its last results: difference quotients of one map are asked for by many checks.

    Of a field without conditions, which the results would depend on too.
    """

    def __init__(self, b: VelocityField, **options: Any) -> None:
        super().__init__(b, **options)
        self._known: dict[tuple[Any, ...], Tensor] = {}

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """The map, of the same operands once; where derivatives may be wanted, every time."""
        if not is_concrete(x) or any(is_tracked(part) for part in (s, t, x, *self.dependencies())):
            return super().forward(s, t, x)
        key = (x.shape, *((part.dtype, part.numpy().tobytes()) for part in (s, t, x)))
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key] = super().forward(s, t, x)
        return self._known[key].clone()


class _Enough(Solver):
    """The default solver, in float64 to `ENOUGH`."""

    def _accuracy(self, y: Tensor) -> tuple[str, float, float]:
        method, rtol, atol = super()._accuracy(y)
        return method, max(rtol, ENOUGH), max(atol, ENOUGH)


def solved(b: VelocityField) -> SolutionOperator:
    """The flow map of a field of ours, as exactly as `SOLVED` asks; of a field that is not, take `b.flow_map()`."""
    X = SolutionOperator(b)
    X.solver = _Enough()
    return X


def user_case(request: Request) -> Case | None:
    """The field and map that were asked for; a field alone is solved, a map alone is held to its implied field.

    Raises:
        ValueError: if one of them fails on a state in double precision, or is not finite there.
    """
    X, field = request.map, request.velocity_field
    if X is None and field is None:
        return None
    b = X.velocity() if field is None else field  # type: ignore[union-attr]
    shape, tolerance, sampler = request.shape(), request.tolerance or SOLVED, _states_of(request)
    if X is None:
        case = _solved("user", b, shape, sampler, tolerance=tolerance)
    else:
        case = Case("user", b, X, shape, tolerance, sampler, X, values_only)
    x = case.states(2, 0)
    for what, call in (
        ("`flow_map`" if X else "`field`", lambda: case.X(0.2, 0.7, x)),
        ("`field`" if field else "`flow_map`", lambda: b(0.4, x)),
    ):
        try:
            value = call()
        except Exception as error:
            raise ValueError(f"{what} failed on a float64 state of shape {list(x.shape)}: {error}") from error
        if not value.isfinite().all():
            raise ValueError(
                f"{what} must be finite, it is not at a state of shape {list(x.shape)} at time 0.4 or 0.7."
            )
    return case


def _states_of(request: Request) -> Callable[[int, int], Tensor]:
    """The states that were asked for, as a function of a number and a seed."""
    found = request.sampler()
    if found is None:
        return partial(_normal_states, request.shape())

    def drawn(n: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if isinstance(found, Tensor):
            return found[torch.randint(len(found), (n,), generator=generator)].double()
        return found(n, generator).double()

    return drawn

"""What is to be checked, as texts: formulas, and objects by the name of the module that makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowops._named import load
from flowops.checks.draws import States, interval
from flowops.checks.field import LogDensity, check_field
from flowops.checks.flow_map import check_flow_map
from flowops.checks.interpolant import check_interpolant
from flowops.checks.report import Report
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant, linear
from flowops.maps import FlowMap
from flowops.problems import Problem


@dataclass(frozen=True)
class Request:
    """Check a schedule, field or map of your own; the first broken equation is named with its place.

    Objects are named as package.module:name, of a function without arguments or of the object.

    Attributes:
        alpha: coefficient of the base of your schedule, as a formula in t, such as "cos(pi*t/2)".
        beta: coefficient of the data.
        gamma: coefficient of the latent, if there is one.
        ends_differ: whether the schedule need not reach base and data at its ends.
        field: your VelocityField; it is solved, and the solution is checked.
        flow_map: your FlowMap, against the field, or against the one that it implies.
        log_density: log rho of (t, x), the law that the field is meant to transport; the field is then checked as well
            as the map.
        problem: a Problem of flowops.problems, whose map, field and density are checked against each other; its factory
            may take an interpolant.
        event: shape of a state, such as 3,32,32.
        horizon: the first and the last time of a field or map, such as 0,20.
        states: a tensor of states, or a sampler of (n, generator); standard normal if left out.
        tolerance: what counts as zero; 1e-9 in double, 4e-4 in single precision if left out.
        n: number of samples; 24, or 8 of large states, if left out.
        seconds: of processor time for each object; what is not decided by then stays so.
        seed: of times, states and directions.
    """

    alpha: str | None = None
    beta: str | None = None
    gamma: str | None = None
    ends_differ: bool = False
    field: str | None = None
    flow_map: str | None = None
    log_density: str | None = None
    problem: str | None = None
    event: str = "2"
    horizon: str = "0,1"
    states: str | None = None
    tolerance: float | None = None
    n: int | None = None
    seconds: float = 40.0
    seed: int = 0

    def interpolant(self) -> Interpolant | None:
        """The schedule.

        Raises:
            ValueError: for one formula of two, and for one that is none.
        """
        if self.alpha is None and self.beta is None and self.gamma is None:
            return None
        if self.alpha is None or self.beta is None:
            given = next(name for name in ("beta", "alpha", "gamma") if getattr(self, name) is not None)
            raise ValueError(f"`alpha` and `beta` must be given together, got only `{given}`; pass both.")
        return Interpolant.from_expressions(self.alpha, self.beta, self.gamma, name="user")

    @cached_property
    def velocity_field(self) -> VelocityField | None:
        """The field, loaded once."""
        return None if self.field is None else made(self.field, VelocityField, "field")

    @cached_property
    def map(self) -> FlowMap | None:
        """The flow map, loaded once."""
        return None if self.flow_map is None else made(self.flow_map, FlowMap, "flow_map")

    @cached_property
    def reference(self) -> Problem[Any, Any] | None:
        """The problem, loaded once, for the linear interpolant where its factory takes one."""
        return None if self.problem is None else made(self.problem, Problem, "problem", linear())

    def density(self) -> LogDensity | None:
        """The law that the field is meant to transport.

        Raises:
            ValueError: for something that cannot be called, or if there is no field that it could belong to.
        """
        if self.log_density is None:
            return None
        if self.field is None:
            raise ValueError("`log_density` must be given with the field that transports it; pass `field` too.")
        found = load(self.log_density, "log_density")
        if not callable(found):
            raise ValueError(
                f"`log_density` must name a function of (t, x), got {self.log_density!r}, which is "
                f"{type(found).__name__}; mend it."
            )
        return found

    def sampler(self) -> States:
        """The states: a tensor, a sampler, or None for normal ones.

        Raises:
            ValueError: for something that is none of these.
        """
        if self.states is None:
            return None
        found = load(self.states, "states")
        if callable(found) and not _needed(found):
            found = found()
        if not isinstance(found, Tensor) and not callable(found):
            raise ValueError(
                f"`states` must name a tensor [n, *event], or a sampler of (n, generator), got {self.states!r}, which "
                f"is {type(found).__name__}; mend it."
            )
        return found

    def shape(self) -> tuple[int, ...]:
        """The shape of a state.

        Raises:
            ValueError: for anything but positive sizes.
        """
        try:
            sizes = tuple(int(part) for part in self.event.split(",") if part.strip())
        except ValueError:
            sizes = (0,)
        if any(size < 1 for size in sizes):
            raise ValueError(
                f"`event` must be positive sizes separated by commas, got {self.event!r}; pass 2 or 3,32,32."
            )
        return sizes

    def times(self) -> tuple[float, float]:
        """The horizon.

        Raises:
            ValueError: for anything but two increasing numbers.
        """
        try:
            start, end = (float(part) for part in self.horizon.split(","))
        except ValueError:
            raise ValueError(
                f"`horizon` must be two times separated by a comma, got {self.horizon!r}; pass 0,1."
            ) from None
        return interval((start, end))

    def checks(self) -> list[tuple[str, Callable[[], Report]]]:
        """What is to be done, by name; objects are loaded here, checked when called.

        Raises:
            ValueError: if there is nothing to check, or an object that cannot be loaded.
            TypeError: for an object of another kind.
        """
        common: dict[str, Any] = {
            "horizon": self.times(), "event": self.shape(), "states": self.sampler(), "tolerance": self.tolerance,
            "n": self.n, "seconds": self.seconds, "seed": self.seed,
        }  # fmt: skip
        found: list[tuple[str, Callable[[], Report]]] = []
        if (I := self.interpolant()) is not None:
            own = {key: common[key] for key in ("tolerance", "n", "seconds", "seed")}
            found.append(
                ("schedule", lambda: check_interpolant(I, ends=not self.ends_differ, name="the schedule", **own))
            )
        b, X, density = self.velocity_field, self.map, self.density()
        if b is not None and (X is None or density is not None):
            found.append(("field", lambda: check_field(b, log_density=density, **common)))
        if X is not None:
            found.append(("flow map", lambda: check_flow_map(X, b, **common)))
        if (problem := self.reference) is not None:
            found += _of_a_problem(problem, common)
        if not found:
            raise ValueError("`field`, `flow_map`, `problem`, or `alpha` and `beta` must be given, got none of them.")
        return found


def made(path: str, kind: type[Any], setting: str, *offered: object) -> Any:
    """The object of a kind that `package.module:factory` makes or is; what is `offered` is passed if it is needed.

    Raises:
        ValueError: if it cannot be imported or made.
        TypeError: if it is of another kind.
    """
    factory = load(path, setting)
    if isinstance(factory, kind) or not callable(factory):
        found = factory
    else:
        try:
            found = factory(*offered[: _needed(factory)])
        except Exception as error:
            raise ValueError(f"`{setting}` names {path!r}, which failed when called: {error}; mend it.") from error
    if not isinstance(found, kind):
        raise TypeError(f"`{setting}` must give a {kind.__name__}, {path!r} gives {type(found).__name__}; wrap it.")
    return found


def _needed(function: Callable[..., Any]) -> int:
    """How many arguments a function cannot be called without."""
    parameters: Sequence[inspect.Parameter] = list(inspect.signature(function).parameters.values())
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in named and p.default is p.empty for p in parameters)


def _of_a_problem(problem: Problem[Any, Any], common: dict[str, Any]) -> list[tuple[str, Callable[[], Report]]]:
    """The field of a problem against its density, and its map against its field."""

    def states(n: int, generator: torch.Generator) -> Tensor:
        return problem.sample(0.5, n, generator=generator, dtype=torch.float64)

    options = {**common, "states": common["states"] or states}
    density = problem.log_prob if problem.interpolant is not None else None
    name = f"the field of {problem.name}"
    found = [(name, lambda: check_field(problem.b, log_density=density, name=name, **options))]
    if problem.X is not None:
        whole = f"the map of {problem.name}"
        found.append((whole, lambda: check_flow_map(problem.X, problem.b, name=whole, **options)))
    return found

"""What a report is made of, task by task: what is looked at is loaded when it is planned, and worked on afterwards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from flowops.checks import Report, Request, check_learned_map
from flowops.checks.budget import Budget
from flowops.checks.draws import draw
from flowops.checks.verdict import DIFFERS, FAILS, HOLDS, MEASURED, UNDECIDED
from flowops.evaluation.report.certified import certificate_section
from flowops.evaluation.report.densities import density_section
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.page import Page
from flowops.evaluation.report.part import Paragraph, Section, Verdicts
from flowops.evaluation.report.residual_maps import residual_section
from flowops.evaluation.report.samples import POINTS, sample_section
from flowops.evaluation.report.schedule import schedule_section
from flowops.evaluation.report.shapes import shape_section
from flowops.evaluation.report.step_errors import step_error_section
from flowops.evaluation.report.trajectories import trajectory_section
from flowops.fields.likelihood import base_log_prob
from flowops.interpolants import Interpolant
from flowops.problems import Problem, gaussian_mixture
from flowops.runs import Run
from flowops.runs.provenance import provenance

Told = Callable[[int, str], None]
"""Is told how many tasks are done, and what comes next."""


@dataclass(frozen=True)
class Task:
    """A section that is to be made.

    Attributes:
        title: its title.
        build: makes it.
        seconds: of processor time; what is not there by then is left out, with a sentence.
    """

    title: str
    build: Callable[[], Section]
    seconds: float

    def done(self) -> Section:
        """The section, or why there is none: whatever a user's object raises is a finding, not a crash."""
        try:
            with Budget(self.seconds, 1).part():
                return self.build()
        except Exception as error:
            return Section(self.title, (Paragraph(f"This could not be drawn: {_line_of(error)}."),))


def _line_of(error: Exception) -> str:
    """What an error says, in a line."""
    said = str(error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__


@dataclass(frozen=True)
class Plan:
    """A report that is to be made.

    Attributes:
        title: of the page.
        checks: what gives verdicts, by name.
        figures: what is drawn beside them.
        facts: with what it is made.
    """

    title: str
    checks: Sequence[tuple[str, Callable[[], Report]]]
    figures: Sequence[Task]
    facts: Mapping[str, str]

    def __len__(self) -> int:
        """How many tasks there are."""
        return len(self.checks) + len(self.figures)

    def carried_out(self, told: Told | None = None) -> Page:
        """The page."""
        tell = told or (lambda *_: None)
        tables: list[Verdicts] = []
        for name, check in self.checks:
            tell(len(tables), name)
            tables.append(Verdicts.of(check()))
        sections = [Section("Verdicts", tables)]
        for task in self.figures:
            tell(len(tables) + len(sections) - 1, task.title)
            sections.append(task.done())
        tell(len(self), "")
        return Page(self.title, tuple(map(summary, tables)), tuple(sections), self.facts)


WORDS = {HOLDS: "hold", MEASURED: "are measured", FAILS: "FAIL", DIFFERS: "differ", UNDECIDED: "are not decided"}


def summary(table: Verdicts) -> str:
    """How many statements hold, and which of them do not."""
    counts = Counter(row.outcome for row in table.rows)
    failed = [row.statement.partition(":")[0] for row in table.rows if row.outcome == FAILS]
    broken = f" The first broken one is {failed[0]}." if failed else ""
    told = ", ".join(f"{counts[outcome]} {words}" for outcome, words in WORDS.items() if counts[outcome])
    return f"{table.name}: of {len(table.rows)} statements {told}.{broken}"


def plan_of_objects(request: Request) -> Plan:
    """What is to be told of a user's schedule, field, map or problem.

    Raises:
        ValueError: if there is nothing to check, or an object that cannot be loaded.
        TypeError: for an object of another kind.
    """
    checks = request.checks()
    figures: list[Task] = []
    if (I := request.interpolant()) is not None:
        figures.append(Task("The schedule", partial(schedule_section, I), request.seconds))
        figures += _figures(partial(_line, I, request.seed), request.seconds, solved=True)
    elif request.reference is not None:
        figures += _figures(partial(_of_problem, request), request.seconds, solved=request.reference.X is None)
    else:
        observed = _of_objects(request)
        if request.map is not None and request.velocity_field is not None:
            _check_fit(observed)
        figures += _figures(lambda: observed, request.seconds, solved=observed.solved)
    title = f"flowops check: {', '.join(name for name, _ in checks)}"
    return Plan(title, checks, figures, {"seed": str(request.seed), **facts()})


def plan_of_run(
    run: Run,
    *,
    label: int | None = None,
    guidance: float | None = None,
    n: int | None = None,
    tolerance: float | None = None,
    seconds: float = 40.0,
    seed: int = 0,
) -> Plan:
    """What is to be told of a trained run, against the field of its own map.

    Statements that no training makes exact are told as sizes. Verdicts are those of one class, figures of all in turn
    if none is given.

    Args:
        run: the run.
        label: a class; None for all in turn.
        guidance: scale of classifier-free guidance.
        n: number of samples of the verdicts.
        tolerance: what counts as zero where something is exact.
        seconds: of processor time for the verdicts, and for each section.
        seed: of base samples, times and directions.
    """
    if run.condition is not None:
        raise ValueError(
            f"`run` must take classes or nothing to be checked, and {run.folder.path} takes a condition; fix one, as "
            f"in check --flow-map package.module:factory."
        )
    run = run.on(precision="32", compile=False)
    one = run.conditioning(1, 0 if label is None else label, guidance) if run.classes else run.conditioning(1)
    count = _at_most(run, POINTS) if run.paired else POINTS
    whole, x = run.conditioning(count, label, guidance), run.base(count, seed=seed)
    density = None if run.paired else partial(scaled_normal, float(run.interpolant.alpha(0.0)))
    observed = Observed(whole.map(), whole.field(), x, backward=False, data=_data(run, label, seed), log_base=density)
    alone = one.subset(torch.zeros((), dtype=torch.long))  # one label for samples of any number
    name = f"the map of {run.folder.path}"
    check = partial(
        check_learned_map,
        alone.map(),
        x if n is None or n <= count else run.base(n, seed=seed),
        alone.field(),
        n=n,
        tolerance=tolerance,
        seconds=seconds,
        seed=seed,
        name=name,
    )
    told = {"run": str(run.folder.path), "step": str(run.step), "seed": str(seed), **facts(run.device)}
    return Plan(f"flowops check: {run.folder.path}", [(name, check)], _figures(lambda: observed, seconds), told)


def scaled_normal(scale: float, x: Tensor) -> Tensor:
    """The log-density of a multiple of a standard normal state."""
    return base_log_prob(None, x / scale) - x[0].numel() * math.log(scale)


def _at_most(run: Run, n: int) -> int:
    """So many samples, or all of a smaller set."""
    return n if run.dataset.size is None else min(n, run.dataset.size)


def _data(run: Run, label: int | None, seed: int) -> Tensor | None:
    """Data to compare with, of one class if one is given; None where there are none of it among them."""
    found = run.dataset.reference(_at_most(run, POINTS), seed=seed)
    x = found.x1 if label is None or found.labels is None else found.x1[found.labels == label]
    return x if len(x) else None


def _figures(make: Callable[[], Observed], seconds: float, solved: bool = False) -> list[Task]:
    """The sections on a map and its field, or on a field that is solved; they share what they show."""
    once = cache(make)
    return [
        Task(title, partial(_section, section, once), seconds)
        for title, section in SECTIONS.items()
        if not (solved and section in OF_MAPS)
    ]


SECTIONS: Mapping[str, Callable[[Observed], Section]] = {
    "Residuals over pairs of times": residual_section,
    "Trajectories": trajectory_section,
    "Shapes of trajectories": shape_section,
    "Samples by number of steps": sample_section,
    "Certificate": certificate_section,
    "Likelihood": density_section,
    "Error by number of calls": step_error_section,
}
"""What is drawn of a map and its field."""
OF_MAPS = (residual_section, certificate_section, density_section)
"""What says nothing of a solution by a solver."""


def _section(section: Callable[[Observed], Section], make: Callable[[], Observed]) -> Section:
    return section(make())


def _line(I: Interpolant, seed: int) -> Observed:
    """Two modes on the real line under a schedule: their trajectories tell how straight it is."""
    problem = gaussian_mixture((0.3, 0.7), [[-1.5], [1.0]], (0.2, 0.4), I)
    return _flow_of(problem, seed)


def _of_problem(request: Request) -> Observed:
    assert request.reference is not None
    return _flow_of(request.reference, request.seed, request.times())


def _flow_of(problem: Problem[Any, Any], seed: int, horizon: tuple[float, float] = (0.0, 1.0)) -> Observed:
    """A problem with its base samples, and its data where it has any."""
    source = torch.Generator().manual_seed(seed)
    x = problem.sample_base(POINTS, generator=source, dtype=torch.float64)
    data = None if problem.data is None else problem.sample_data(POINTS, generator=source, dtype=torch.float64)
    X = problem.b.flow_map() if problem.X is None else problem.X
    return Observed(X, problem.b, x, horizon, data=data)


def _of_objects(request: Request) -> Observed:
    """The map that was given, or the solution of the field."""
    b, X = request.velocity_field, request.map
    named = [module for module in (X, b) if module is not None]
    x = draw(named, request.times(), request.sampler(), request.shape(), POINTS, request.seed).x
    if X is None:
        assert b is not None
        return Observed(b.flow_map(), b, x, request.times())
    return Observed(X, X.velocity() if b is None else b, x, request.times())


def _check_fit(o: Observed) -> None:
    """Refuse a map and a field of states of different shapes, and a map that says nothing at any state."""
    start, end = o.horizon
    try:
        o.b(start, o.x)
    except Exception as error:
        raise ValueError(
            f"`field` must take states of shape {list(o.event)} as the map does, and failed ({_line_of(error)}); give "
            f"that of the map, or pass `event`."
        ) from error
    if not bool(o.X(start, end, o.x).isfinite().any()):
        raise ValueError("`flow_map` must be finite at some state, and is so at none; mend it.")


def facts(device: torch.device | str = "cpu") -> dict[str, str]:
    """Versions, system and device, in words."""
    held = provenance(device)
    versions = held["versions"]
    assert isinstance(versions, dict)
    told = {name: str(version) for name, version in versions.items() if version is not None}
    where = {key: str(held[key]) for key in ("system", "device", "threads", "date")}
    return {**told, **where}

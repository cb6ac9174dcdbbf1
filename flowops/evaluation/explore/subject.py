"""What is explored: a trained run, or a problem with an exact field, under a schedule of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from flowops.checks.request import made
from flowops.evaluation.explore.problem_names import problem_of
from flowops.evaluation.explore.view import View
from flowops.evaluation.report.observed import Observed
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant, linear
from flowops.maps import DDIMStep, FlowMap, SolverStep, reschedule
from flowops.maps.reschedule import RescheduledMap
from flowops.pictures import is_image
from flowops.problems import Problem
from flowops.runs import Run

PARTICLES, SAMPLES = 500, 8  # states, and images


@dataclass(frozen=True)
class Subject:
    """What is explored.

    Attributes:
        title: what it is called.
        facts: what it is, in a sentence.
        interpolant: the schedule it begins with; None for a field that comes from none.
        under: the view under a schedule; under that one for None.
    """

    title: str
    facts: str
    interpolant: Interpolant | None
    under: Callable[[Interpolant | None], View]


def subject_of_run(
    run: Run,
    interpolant: Interpolant | None = None,
    *,
    label: int | None = None,
    guidance: float | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Subject:
    """A run: its map beside solvers of its own field.

    Under another schedule map and field are moved there, with no retraining (`reschedule`); where that reaches
    beyond the schedule of the run its clock is held, and a note says so.

    Args:
        run: the run.
        interpolant: the schedule to begin with; that of the run if None.
        label: class of all states; None for all in turn.
        guidance: scale of classifier-free guidance.
        n: number of states; 500 particles or 8 images if None.
        seed: of the base samples.

    Raises:
        ValueError: for states that are neither images nor of two numbers or more, and what `Run.conditioning` refuses.
    """
    run = run.on(precision="32", compile=False)
    _check_event(run.event, "run")
    n = n or (SAMPLES if is_image(run.event) else PARTICLES)
    if run.paired and run.dataset.size is not None:
        n = min(n, run.dataset.size)
    chosen, x, own = run.conditioning(n, label, guidance), run.base(n, seed=seed), run.interpolant

    def under(other: Interpolant | None) -> View:
        X, b, start = chosen.map(), chosen.field(), x
        notes: tuple[str, ...] = ()
        I = other or interpolant
        if I is not None:
            I = I.to(run.device)
            X, b = reschedule(X, own, I, truncate=True), reschedule(b, own, I, truncate=True)
            start = x * (float(I.alpha(0.0)) / float(own.alpha(0.0)))
            notes = _held(X)
        ways = {"map": X, **_solvers(b, I or own)}
        observed = Observed(X, b, start, backward=False)
        classes = None if run.condition is not None else chosen.labels
        return View(observed, ways, classes, learned=True, notes=notes)

    facts = f"{run.config.method} on {run.config.dataset}, step {run.step}"
    return Subject(str(run.folder.path), facts, interpolant or own, under)


def subject_of_problem(
    name: str, interpolant: Interpolant | None = None, *, n: int | None = None, seed: int = 0
) -> Subject:
    """A problem with an exact field: solvers of few steps beside its true flow.

    Args:
        name: one of `NAMES`, or package.module:factory, a function of an interpolant or without arguments that gives a
            `Problem`, or the problem itself.
        interpolant: its schedule; linear if None.
        n: number of particles; 500 if None.
        seed: of their draw.

    Raises:
        ValueError: for an unknown name, a problem of states of one number, and a schedule of a problem without one.
        TypeError: for an object that is no problem.
    """
    first = _problem(name, interpolant or linear())
    if interpolant is not None and first.interpolant is None:
        raise ValueError(_without_schedule(name))
    _check_event(first.event, "problem")

    def under(other: Interpolant | None) -> View:
        problem = first if other is None else _problem(name, other)
        if other is not None and problem.interpolant is not other:
            raise ValueError(_without_schedule(name))
        source = torch.Generator().manual_seed(seed)
        x = problem.sample(0.0, n or PARTICLES, generator=source, dtype=torch.float32)
        ways = _solvers(problem.b, problem.interpolant)
        return View(Observed(next(iter(ways.values())), problem.b, x), ways)

    own = first.interpolant
    facts = "an exact field, and methods of few steps in place of a map"
    return Subject(f"problem {name}", facts, own, under)


def _problem(name: str, interpolant: Interpolant) -> Problem[Any, Any]:
    return made(name, Problem, "problem", interpolant) if ":" in name else problem_of(name, interpolant)


def _without_schedule(name: str) -> str:
    return (
        f"`problem` must be one that takes a schedule for `alpha` and `beta`, and {name} is given without one; leave "
        f"them out."
    )


def _check_event(event: torch.Size, setting: str) -> None:
    if not is_image(event) and event.numel() < 2:
        raise ValueError(
            f"`{setting}` must have states in a plane, of more numbers, or images, got shape {list(event)}; "
            f"flowops check draws those of one number."
        )


def _solvers(b: VelocityField, interpolant: Interpolant | None) -> dict[str, FlowMap]:
    """Methods of one step each, the plainest first."""
    found: dict[str, FlowMap] = {"euler": SolverStep(b, "euler"), "heun": SolverStep(b, "heun")}
    if interpolant is not None and not interpolant.has_latent and interpolant.gaussian_base:
        found["ddim"] = DDIMStep(b, interpolant)
    return found


def _held(X: FlowMap) -> tuple[str, ...]:
    """Whether the clock is held at an end."""
    assert isinstance(X, RescheduledMap)
    if not X.change.truncated:
        return ()
    return ("This schedule reaches beyond that of the run: its clock is held there, and states are only rescaled.",)

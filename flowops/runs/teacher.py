"""The teacher of a distillation: the field or map of another run, of a reference problem, or of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from flowops import _named
from flowops._named import Registry, meant
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, reschedule
from flowops.maps.reschedule import RescheduledField, RescheduledMap
from flowops.maps.schedule_change import ScheduleChange
from flowops.problems import REFERENCE, Problem
from flowops.runs.assembly import method_of
from flowops.runs.settings import DIFFUSERS, TrainConfig, refuse_given
from flowops.times import on_diagonal

PROBLEMS: Registry[Problem[Any, Any]] = Registry("teacher", Problem, REFERENCE)
PREFIX = "problem:"


def teacher_of(
    config: TrainConfig,
    wanted: str,
    interpolant: Interpolant,
    event: Sequence[int],
    device: torch.device,
    *,
    load: Callable[..., Any],
    given: VelocityField | FlowMap | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> VelocityField | FlowMap | None:
    """The teacher that a method wants, on the schedule of the run; None if it wants none.

    Args:
        config: names it: the folder of a run, `problem:NAME` for the exact field of a reference problem,
            `diffusers:FOLDER` for the field of a model that diffusers saved, or `package.module:factory` for a field, a
            map or a `Problem`, made without arguments. Where a field and a map will do, a run gives its field, and its
            map if it is the round before, learned by the same method.
        wanted: the kind, as in `Row`.
        interpolant: schedule of this run.
        event: shape of its samples.
        device: where it goes.
        load: how a run is loaded, `Run.load`.
        given: an operator of the caller's own in place of a name, on the schedule of this run; its weights are frozen.
        report: is told how far the laws are off where a clock is held.

    Raises:
        ValueError: if the method wants one and there is none, the other way round, or the data have another shape.
        FileNotFoundError: if there is no such run.
    """
    second_order = config.network.parameterization == "second-order"
    if given is None and config.teacher is None:
        if (wanted and not wanted.startswith("optional")) or second_order:
            why = config.method if not second_order else "the second-order parameterization"
            raise ValueError(f"`teacher` must be given for {why}, got none; pass the folder of a run, say.")
        return None
    if not wanted and not second_order:
        raise ValueError(f"`teacher` must not be given for {config.method}, which has none; drop it.")
    kind = wanted.removeprefix("optional ")
    if given is not None:
        return _as_wanted(given, kind).requires_grad_(False).to(device)
    name = str(config.teacher)
    refuse_given(name, "teacher")
    if name.startswith(PREFIX):
        made: object = _problem(name, interpolant)
    elif name.startswith(DIFFUSERS):
        made = _pretrained(name.removeprefix(DIFFUSERS), interpolant, event, report)
    elif ":" in name:
        made = _named.load(name, "teacher")
        if callable(made) and not isinstance(made, nn.Module):
            made = made()
    else:
        run = _loaded(name, device, load)
        _check_event(run.event, event, name)
        as_map = kind == "map" or (kind == "field or map" and _round_before(run.config, config))
        operator: VelocityField | FlowMap = run.X if as_map else run.X.velocity()
        return _moved(operator, run.interpolant, interpolant, event, report).to(device)
    if isinstance(made, Problem):
        _check_event(made.event, event, name)
        made = made.X if kind == "map" and made.X is not None else made.b
    if not isinstance(made, VelocityField | FlowMap):
        raise TypeError(
            f"`teacher` must be a VelocityField or a FlowMap, got {type(made).__name__} of {name}; wrap it."
        )
    return _as_wanted(made, kind).requires_grad_(False).to(device)


def _pretrained(
    folder: str, interpolant: Interpolant, event: Sequence[int], report: Callable[[str], None]
) -> VelocityField | FlowMap:
    """The field of a model of diffusers on the schedule of the run, its clock held where the model knows no levels."""
    from flowops.adapters.diffusers import velocity_field

    b = velocity_field(folder)
    b.backbone.check_event(event)
    return _moved(b, b.interpolant, interpolant, event, report)


def _loaded(name: str, device: torch.device, load: Callable[..., Any]) -> Any:
    try:
        return load(name, device=device)
    except FileNotFoundError as error:
        if name not in PROBLEMS:
            raise
        raise FileNotFoundError(f"{str(error).rstrip('.')}; did you mean {PREFIX + name!r}?") from None


def _round_before(run: TrainConfig, config: TrainConfig) -> bool:
    """Whether a run learned a map by the same method: then it is the round before, and its map is the teacher."""
    method = method_of(run)
    return method.name == method_of(config).name and any(term.middle is not on_diagonal for term in method.terms)


def _problem(name: str, interpolant: Interpolant) -> Problem[Any, Any]:
    """The reference problem of a name with its prefix."""
    known = [PREFIX + own for own in PROBLEMS]
    if name not in known:
        raise ValueError(f"`teacher` must be one of {', '.join(known)}, got {name!r}{meant(name, known)}")
    return PROBLEMS.make(name.removeprefix(PREFIX), interpolant)


def _as_wanted(operator: VelocityField | FlowMap, kind: str) -> VelocityField | FlowMap:
    """A map where one is wanted, a field elsewhere; as it is where both will do."""
    if kind == "field or map":
        return operator
    if kind == "map":
        return operator.flow_map() if isinstance(operator, VelocityField) else operator
    return operator.velocity() if isinstance(operator, FlowMap) else operator


def _check_event(found: Sequence[int], event: Sequence[int], name: str) -> None:
    if tuple(found) != tuple(event):
        raise ValueError(
            f"`teacher` must be trained on samples of shape {list(event)}, got {list(found)} in {name}; pass another."
        )


def _moved(
    operator: VelocityField | FlowMap,
    old: Interpolant,
    new: Interpolant,
    event: Sequence[int],
    report: Callable[[str], None],
) -> VelocityField | FlowMap:
    """The operator on the schedule `new`; as it is where the two are one.

    Its clock is held where `old` reaches less far, as a variance-preserving one does, and `report` is told what that
    leaves out.
    """
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    if all(torch.equal(getattr(old, name)(times), getattr(new, name)(times)) for name in ("alpha", "beta", "gamma")):
        return operator
    moved = reschedule(operator, old, new, truncate=True)
    if isinstance(moved, RescheduledField | RescheduledMap) and moved.change.truncated:
        report(_missed(moved.change, math.prod(event)))
    return moved


def _missed(change: ScheduleChange, size: int) -> str:
    """What a truncated clock leaves out, as a sentence, for samples of mean square one."""
    start, end = (found / size**0.5 for found in change.defect(size, size))
    return (
        f"The noise levels of the teacher end before those of the run: its clock is held there, and per number of a "
        f"sample the law is off by at most {start:.2g} where the noise is cut, which the flow carries on, and by "
        f"{end:.2g} more at the data (W2, samples of mean square one)."
    )

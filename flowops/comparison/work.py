"""One entry carried out: trained, measured, and what came of it written beside its run."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flowops._named import require
from flowops.certificates import tangent_error
from flowops.comparison.entry import Entry, Protocol
from flowops.comparison.outcome import FINAL, Measured, Outcome
from flowops.comparison.plan import STAGES
from flowops.comparison.trial import Calls, Kind, calls_of, first_draw, kind_of
from flowops.evaluation import Evaluation, evaluate
from flowops.maps import StagedMap
from flowops.runs import Run
from flowops.runs.assembly import assemble, method_of
from flowops.runs.checkpoint import latest_checkpoint
from flowops.sampling import Way
from flowops.training import NotFinite, train
from flowops.training.start import module_of

Report = Callable[[str], None]
FEW, MANY, LARGE = 16, 64, 256  # states of the estimated error: of large events, of others, and which are large


def carried_out(entry: Entry, protocol: Protocol, before: Mapping[str, Outcome], report: Report) -> Outcome:
    """Train an entry, or go on with it, measure it, and write what came of it into the folder of its run.

    Args:
        entry: the entry.
        protocol: how it is measured.
        before: what came of those that it needs.
        report: is told a line now and then.

    Raises:
        Interrupted: after a signal; a checkpoint of the steps that were done is there.
        ValueError, OSError: as `train` and `evaluate`, and if one that it needs failed.
    """
    seen = sum(outcome.images for outcome in before.values())
    if lacking := [name for name, outcome in before.items() if outcome.verdict != "measured"]:
        if before[lacking[0]].verdict not in FINAL:
            raise ValueError(f"{lacking[0]}, which it needs, failed: {before[lacking[0]].told}")
        found = Outcome.of(entry, "no teacher", f"{lacking[0]} is {before[lacking[0]].verdict}", before=seen)
    else:
        found = _measured(entry, protocol, seen, report)
    found.save(entry.outcome)
    return found


def _measured(entry: Entry, protocol: Protocol, seen: int, report: Report) -> Outcome:
    steps = list[int]()
    try:
        run = train(entry.config, resume=True, report=report, callbacks=lambda step: steps.append(step.step))
    except NotFinite as error:
        done = steps[-1] if steps else 0
        return Outcome.of(
            entry, "not finite", str(error), before=seen, steps=done, images=done * (entry.config.batch or 0)
        )
    memory = _memory(run.device) if steps else math.nan  # of the process that trained
    checkpoint = latest_checkpoint(run.folder.checkpoints, report)
    kind, calls = _looked_at(run)
    found = judged(entry, run, kind, protocol, report)
    trained_map = kind.name == "map"
    return Outcome.of(
        entry, "measured", kind=kind.name, columns=found.columns, measured=_samplers(found, protocol),
        data=Measured(found.rows[-1].sampler, None, found.rows[-1].values),
        steps=run.step, images=run.step * (run.config.batch or 0), before=seen,
        seconds=math.nan if checkpoint is None else checkpoint.state["seconds"], memory=memory,
        calls=calls.own, teacher_calls=calls.teacher,
        semigroup=found.residuals.semigroup if trained_map else math.nan,
        certificate=estimate(run) if trained_map and protocol.certificates else math.nan,
    )  # fmt: skip


def _looked_at(run: Run) -> tuple[Kind, Calls]:
    """How a run is sampled, and what its loss costs, from its first draw."""
    assembly = assemble(run.config, run.device, dataset=run.dataset)
    module = module_of(run.config, assembly, run.device, report=lambda _: None)
    draw = first_draw(module, assembly, run.config.batch or 1, run.config.seed)
    return kind_of(draw), calls_of(module, draw)


def judged(entry: Entry, run: Run, kind: Kind, protocol: Protocol, report: Report) -> Evaluation:
    """The table of a run, each number of calls taken as its kind wants it.

    A map takes equal steps; a map to the end time puts all noise back after each; a field takes Euler steps. The solver
    follows the map's own field where that is trained; where it fails it is left out, which is told.
    """
    ways = {
        "map": lambda k: Way(steps=k),
        "endpoint": lambda k: Way(steps=k, gamma=1.0),
        "field": lambda k: Way(solver="euler", steps=k),
    }
    if entry.variant.method in STAGES and entry.config.teacher is not None:
        run = _staged(entry, run)
    samplers = [ways[kind.name](k) for k in protocol.steps]
    options: dict[str, Any] = {
        "steps": (), "n": protocol.n, "features": protocol.features, "split": protocol.split, "samplers": samplers,
        "metrics": protocol.metrics, "cache": Path(run.folder.path).parent.parent / "reference",
    }  # fmt: skip
    if protocol.solver is not None and kind.diagonal:
        try:
            return evaluate(run, solvers=(protocol.solver,), **options)
        except (ValueError, RuntimeError) as error:
            report(f"{protocol.solver} along the field of {entry.name} is left out: {error}")
    return evaluate(run, solvers=(), **options)


def _staged(entry: Entry, run: Run) -> Run:
    """The run with the map of both stages, where the second one learned the map from the early times alone."""
    options = method_of(run.config).options
    if not hasattr(options, "transition"):
        return run
    first = Run.load(str(entry.config.teacher), device=run.device)
    return replace(run, X=StagedMap(run.X, first.X, options.transition))  # type: ignore[arg-type]  # a flow map will do


def _samplers(found: Evaluation, protocol: Protocol) -> tuple[Measured, ...]:
    steps: list[int | None] = [*protocol.steps, None]
    return tuple(
        Measured(row.sampler, k, row.values, row.calls, row.seconds)
        for k, row in zip(steps, found.rows[:-1], strict=False)
    )


@torch.no_grad()
def estimate(run: Run) -> float:
    r"""$|e|/|X_{0,1}(x)-x|$, root mean squares over base samples: $e$ is `tangent_error` of one step of the map.

    NaN where the estimate fails.
    """
    n = MANY if run.event.numel() <= LARGE else FEW
    conditioning, x0 = run.conditioning(n), run.base(n)
    X, b = conditioning.map(), conditioning.field()
    try:
        error = tangent_error(X, b, 0.0, (1.0,), x0)[0]
    except (ValueError, RuntimeError):
        return math.nan
    return float(error.square().mean().sqrt() / (X(0.0, 1.0, x0) - x0).square().mean().sqrt())


def _memory(device: torch.device) -> float:
    """The largest memory so far, in bytes: of the device, or of the process on a CPU; NaN where nobody counts it."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return math.nan
    resource = require("resource", "train")
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)

"""The power-function averages that a run saved, which `posthoc` combines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flowops.runs.checkpoint import CheckpointError, load_weights, read_manifest
from flowops.runs.folder import RunFolder, candidates
from flowops.runs.power import Snapshot
from flowops.runs.progress import tell

_POWER = "power-"  # before the width, in the name of an average


def snapshots(path: Path | str, report: Callable[[str], None] = tell) -> list[Snapshot]:
    """The power-function averages of a run by step and width: those kept apart, and those in whole checkpoints.

    One that was added to a run later averages weights that rest until then, and is not combined with others: where they
    begin at several steps, those that reach furthest are taken, and of these the oldest.

    Args:
        path: folder of a run.
        report: is told what is left out, and why; the standard error if left out.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if it has no such averages.
        CheckpointError: if none of them can be read.
    """
    folder, faults = RunFolder(Path(path)), list[tuple[int, CheckpointError]]()
    widths = {f"{_POWER}{width:g}": width for width in folder.settings(report).power}
    found: dict[tuple[int, str], tuple[int, Snapshot]] = {}
    for place in (folder.averages, folder.checkpoints):
        for step, saved in candidates(place).items():
            try:
                manifest = read_manifest(saved)
            except CheckpointError as error:
                faults.append((step, error))
                continue
            for name in manifest.averages:
                if step == 0 or not name.startswith(_POWER) or (step, name) in found:
                    continue
                try:
                    _, weights = load_weights(place, step, name)
                except CheckpointError as error:
                    faults.append((step, error))
                else:
                    width = widths.get(name) or float(name.removeprefix(_POWER))  # a file name has six digits
                    found[step, name] = manifest.since.get(name, 0), Snapshot(step, width, weights)
    for step, fault in faults:
        report(f"An average of step {step} is not used: {fault}")
    if not found and faults:
        raise faults[0][1]
    if not found:
        raise ValueError(
            f"`run` must have saved power-function averages, and {path} has none; train with power=(0.05, 0.1)."
        )
    return _of_one_beginning(list(found.values()), report)


def _of_one_beginning(found: list[tuple[int, Snapshot]], report: Callable[[str], None]) -> list[Snapshot]:
    """Those that began where the ones that reach furthest did, and of these the oldest; beside the number of a step."""
    last = {since: max(snapshot.step for began, snapshot in found if began == since) for since, _ in found}
    first = min(last, key=lambda since: (-last[since], since))
    others = {(since, snapshot.sigma_rel) for since, snapshot in found if since != first}
    for since, width in sorted(others):
        report(f"The averages of width {width:g} that begin at step {since} are not used beside those from {first} on.")
    return sorted((each for since, each in found if since == first), key=lambda each: (each.step, each.sigma_rel))

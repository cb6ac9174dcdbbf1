"""What a run goes on from when it is resumed: the checkpoint, the settings it had, and how they were changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flowops.methods import decay_of
from flowops.runs import CheckpointError, RunFolder, TrainConfig
from flowops.runs.assembly import Assembly
from flowops.runs.checkpoint import Checkpoint, latest_checkpoint
from flowops.runs.facts import read_facts
from flowops.runs.folder import average_names
from flowops.runs.processes import gathered, on_first, together
from flowops.runs.resuming import changes, check_resumable, check_same_data
from flowops.runs.saving import remove_later
from flowops.training.averages import TARGET


@dataclass(frozen=True)
class Before:
    """A run up to its checkpoint.

    Attributes:
        checkpoint: the newest that is whole.
        config: its settings, complete.
        known: how they were changed before, as in `run.json`.
    """

    checkpoint: Checkpoint
    config: TrainConfig
    known: list[dict[str, Any]]

    def told(self, config: TrainConfig) -> Iterator[str]:
        """Lines for those who watch: from which step it goes on under `config`, and with what changed."""
        step = self.checkpoint.step
        yield f"Going on from step {step}{f' of {config.steps}' if config.steps else ''}."
        yield from (change.told(step) for change in changes(config, self.config))
        names, held = average_names(config), [name for name in self.checkpoint.averages if name != TARGET]
        if added := [name for name in names if name not in held]:
            yield f"Averages added, which start from the weights of step {step}: {', '.join(added)}."
        if dropped := [name for name in held if name not in names]:
            yield f"Averages that are no longer kept: {', '.join(dropped)}."
        if self.config.steps != config.steps and config.optimizer.schedule in ("cosine", "linear"):
            yield f"The rate falls to zero at the new end: this is no longer the run of {self.config.steps} steps."

    def changed(self, config: TrainConfig) -> list[dict[str, Any]]:
        """All changes up to `config`, for `run.json`; one of a step that is done again holds from there."""
        step = self.checkpoint.step
        known = [{**change, "step": min(step, change["step"])} for change in self.known]
        new = [json.loads(json.dumps(change.plain(step))) for change in changes(config, self.config)]
        return known + [change for change in new if change not in known]


def resumed(folder: RunFolder, config: TrainConfig, assembly: Assembly, report: Callable[[str], None]) -> Before | None:
    """What the run in the folder goes on from, the same on every process; None if there is nothing.

    What was saved apart after the checkpoint is removed, since it is saved anew.

    Raises:
        ValueError: for settings or data that make it another run.
        CheckpointError: if there are checkpoints, and none is whole, or the processes see different ones.
        FileNotFoundError: if there are checkpoints without settings.
    """
    found = together(lambda: _read(folder, config, assembly, report))
    steps = set(gathered(None if found is None else found.checkpoint.step))
    if len(steps) > 1:
        raise CheckpointError(
            f"The processes must see one newest checkpoint in {folder.checkpoints}, and see those of the steps "
            f"{', '.join(map(str, steps))}; remove the damaged one."
        )
    if found is None:
        report(f"There is no checkpoint in {folder.path}: starting from the first step.")
    else:
        on_first(lambda: remove_later(folder.averages, found.checkpoint.step))
    return found


def _read(folder: RunFolder, config: TrainConfig, assembly: Assembly, report: Callable[[str], None]) -> Before | None:
    checkpoint = latest_checkpoint(folder.checkpoints, report)
    if checkpoint is None:
        return None  # whatever its settings were: nothing was done under them that is kept
    before, known = folder.settings(report), list[dict[str, Any]]()
    looks_at_first = assembly.method.options.ema_teacher and decay_of(assembly.method) is None
    check_resumable(config, before, average=looks_at_first)
    try:
        facts = read_facts(folder.facts)
    except (OSError, ValueError) as error:
        report(f"{folder.facts} is written anew, and whether the data are those of before is not known: {error}")
    else:
        check_same_data(assembly.dataset, facts)
        known = facts.changes
    return Before(checkpoint, before, known)

"""Which runs a comparison is made of: every row on every schedule, coupling and seed, and what they need before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flowops.comparison.axes import Pairing, Schedule, Variant, with_axes
from flowops.comparison.entry import Entry, Role, name_of
from flowops.methods import get_method
from flowops.runs import TrainConfig

TEACHER = Variant("fm")
"""What trains the teacher of the rows that distil."""
STAGES: Mapping[str, Variant] = MappingProxyType({"tcm": Variant("ct"), "pfmm": Variant("fmm")})
"""The rows whose teacher is the map of an earlier stage, and the row that trains it; each stage has half the budget."""
LADDERS: Mapping[str, str] = MappingProxyType(
    {"pd": "its rounds are runs of their own, ten of them from 1,024 steps to one, and one budget makes no such ladder"}
)
"""The rows that one run does not make, and why."""


@dataclass(frozen=True)
class Budget:
    """What every entry may spend, the same for all: images seen, or minutes.

    Attributes:
        steps: training steps; None where the clock ends a run.
        batch: samples of a step.
        minutes: minutes; 0 where the steps end a run.
    """

    steps: int | None
    batch: int
    minutes: float = 0.0

    @property
    def images(self) -> int | None:
        """Images seen; None where the clock ends a run."""
        return None if self.steps is None else self.steps * self.batch

    def settings(self, share: float = 1.0) -> dict[str, Any]:
        """The settings of a run of that share of the budget."""
        if self.steps is None:
            return {"steps": None, "batch": self.batch, "minutes": share * self.minutes}
        return {"steps": max(1, round(share * self.steps)), "batch": self.batch, "minutes": 0.0}

    def __str__(self) -> str:
        if self.images is None:
            return f"{self.minutes:g} minutes for each entry, batches of {self.batch}"
        return f"{self.images:,} images seen by each entry, {self.steps:,} steps of {self.batch}"


def budget_of(complete: TrainConfig, samples_seen: int | None) -> Budget:
    """The budget of an entry: the images given, the minutes of the settings, or what suits the data set.

    Args:
        complete: the settings that all entries share, complete.
        samples_seen: images; rounded up to whole batches.

    Raises:
        ValueError: for both images and minutes, and for no images.
    """
    batch = complete.batch or 1
    if samples_seen is not None and complete.minutes:
        raise ValueError(
            f"`samples_seen` must be left out beside minutes, got {samples_seen} beside {complete.minutes:g} minutes; "
            f"drop one of the two."
        )
    if samples_seen is not None and samples_seen < 1:
        raise ValueError(f"`samples_seen` must be at least 1, got {samples_seen}; pass 256000, say.")
    if complete.minutes:
        return Budget(None, batch, complete.minutes)
    return Budget(complete.steps if samples_seen is None else math.ceil(samples_seen / batch), batch)


def planned(
    common: TrainConfig,
    budget: Budget,
    axes: tuple[Sequence[Variant], Sequence[Schedule], Sequence[Pairing]],
    seeds: Sequence[int],
    folder: Path,
) -> list[Entry]:
    """The entries in the order in which they run: first all rows of the first seed, what is needed before who needs it.

    Args:
        common: the settings that all share.
        budget: of each.
        axes: what is varied.
        seeds: of each combination.
        folder: of the comparison.
    """
    found: dict[str, Entry] = {}
    combinations = [
        (variant, schedule, pairing, seed)
        for seed in seeds
        for schedule in axes[1]
        for pairing in axes[2]
        for variant in axes[0]
    ]
    for variant, schedule, pairing, seed in combinations:
        for entry in _with_needs(common, budget, variant, schedule, pairing, seed, folder):
            if entry.name not in found or entry.role == "row":
                found[entry.name] = entry
    return list(found.values())


def _with_needs(
    common: TrainConfig,
    budget: Budget,
    variant: Variant,
    schedule: Schedule,
    pairing: Pairing,
    seed: int,
    folder: Path,
) -> Iterator[Entry]:
    """What an entry needs, and the entry."""

    def made(own: Variant, role: Role, share: float = 1.0, **changed: Any) -> Entry:
        # A teacher is what the row of that name trains, so that both are one run; a shorter stage is its own.
        name = name_of(own, schedule, pairing, seed, "row" if role == "teacher" else role)
        needs = changed.pop("needs", ())
        settings = {**with_axes(own, schedule, pairing), **budget.settings(share), "seed": seed, **changed}
        config = replace(common, out=str(folder / "runs" / name), **settings)
        images = None if config.steps is None else config.steps * budget.batch
        return Entry(name, own, schedule, pairing, config, role, needs, images)

    wanted = get_method(variant.method).row.teacher
    first = STAGES.get(variant.method)
    if common.teacher is not None or not wanted or wanted.startswith("optional"):
        yield made(variant, "row", teacher=common.teacher if wanted else None)
    elif first is not None:
        stage = made(first, "stage", 0.5)
        yield stage
        where = stage.config.out
        yield made(variant, "row", 0.5, teacher=where, init=where, needs=(stage.name,))
    else:
        teacher = made(TEACHER, "teacher")
        yield teacher
        yield made(variant, "row", teacher=teacher.config.out, needs=(teacher.name,))

"""What came of an entry: how its samples measure, what they and the training cost, or why there are none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from flowops._files import write_text
from flowops.comparison.entry import Entry, Role
from flowops.evaluation.plain import finite

Verdict = Literal["measured", "not finite", "no teacher", "failed"]
FINAL = ("measured", "not finite", "no teacher")
"""Verdicts of entries that are not run again."""


@dataclass(frozen=True)
class Measured:
    """One sampler of an entry.

    Attributes:
        sampler: which, in words.
        steps: number of steps along the map, or of Euler steps along its field; None for the solver and for data.
        values: one for each column; NaN where there is none.
        calls: calls of the network per sample.
        seconds: wall time for all samples.
    """

    sampler: str
    steps: int | None
    values: tuple[float, ...]
    calls: float = math.nan
    seconds: float = math.nan


@dataclass(frozen=True)
class Outcome:
    """What came of an entry.

    Attributes:
        name: of the entry and its folder.
        method: its row.
        options: of the row.
        schedule: its schedule.
        pairing: its coupling.
        seed: its seed.
        role: whether it is a row of the table.
        family: the family of the row.
        verdict: measured, or what came in between.
        told: the verdict as a sentence, where there is more to say.
        kind: how its map is sampled, as in `Kind`.
        columns: names of the metrics.
        measured: the samplers.
        data: the data in their place.
        steps: training steps.
        images: images that it saw.
        before: images that its teacher or its earlier stage saw.
        seconds: of training.
        memory: largest memory of its process, bytes.
        calls: network evaluations of the map per sample and training step.
        teacher_calls: those of the teacher.
        semigroup: root mean square of the semigroup residual.
        certificate: size of the estimated error of one step against the map's own field over that of the step.
    """

    name: str
    method: str
    options: tuple[str, ...]
    schedule: str
    pairing: str
    seed: int
    role: Role
    family: str
    verdict: Verdict
    told: str = ""
    kind: str = ""
    columns: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()
    data: Measured | None = None
    steps: int = 0
    images: int = 0
    before: int = 0
    seconds: float = math.nan
    memory: float = math.nan
    calls: float = math.nan
    teacher_calls: float = math.nan
    semigroup: float = math.nan
    certificate: float = math.nan

    @classmethod
    def of(cls, entry: Entry, verdict: Verdict, told: str = "", **found: Any) -> Outcome:
        """The outcome of an entry."""
        return cls(
            entry.name, entry.variant.method, entry.variant.options, entry.schedule.label, entry.pairing.label,
            entry.config.seed, entry.role, entry.variant.family, verdict, told, **found,
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """Names and values that JSON can hold, with null for NaN."""
        held: dict[str, Any] = finite(asdict(self))
        return held

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> Outcome:
        """The outcome that `plain` gave.

        Raises:
            ValueError: for other names or values.
        """
        try:
            values = {f.name: held[f.name] for f in fields(cls)}
            data = None if values["data"] is None else _measured(values["data"])
            numbers = {name: _number(values[name]) for name in _NUMBERS}
            lists = {name: tuple(values[name]) for name in ("options", "columns")}
            return cls(
                **{**values, **numbers, **lists, "data": data, "measured": tuple(map(_measured, held["measured"]))}
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"An outcome must hold the fields of `Outcome`, and does not ({error}).") from error

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_text(path, json.dumps(self.plain(), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Outcome | None:
        """The outcome in a file; None if there is none, or it is damaged."""
        try:
            return cls.read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def value(self, steps: int | None, column: int) -> float:
        """A column of the sampler with that number of steps, of the solver for None; NaN if there is none."""
        found = [each.values[column] for each in self.measured if each.steps == steps]
        return found[0] if found else math.nan


_NUMBERS = ("seconds", "memory", "calls", "teacher_calls", "semigroup", "certificate")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _measured(held: Mapping[str, Any]) -> Measured:
    return Measured(
        held["sampler"], held["steps"], tuple(map(_number, held["values"])), _number(held["calls"]),
        _number(held["seconds"]),
    )  # fmt: skip

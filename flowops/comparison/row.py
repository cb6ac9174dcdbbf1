"""A row of the table: the outcomes of one method, schedule and coupling under every seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from flowops.comparison.outcome import Outcome


@dataclass(frozen=True)
class Spread:
    """Some numbers, one for each seed.

    Attributes:
        values: those that are finite.
        lost: how many are not.
    """

    values: tuple[float, ...]
    lost: int = 0

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Those of them that are finite."""
        finite = tuple(value for value in values if math.isfinite(value))
        return cls(finite, len(values) - len(finite))

    @property
    def mean(self) -> float:
        """Their mean; NaN of none."""
        return fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Their standard deviation; NaN of fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        """The mean and the standard deviation, and how many are not finite."""
        if not self.values:
            return ""
        spread = "" if math.isnan(self.deviation) else f" ± {self.deviation:.1g}"
        lost = f" ({self.lost} of {self.lost + len(self.values)} not finite)" if self.lost else ""
        return f"{self.mean:.3g}{spread}{lost}"


@dataclass(frozen=True)
class Row:
    """The outcomes of one method, schedule and coupling, one for each seed that is finished.

    Attributes:
        label: what it is called in the table.
        family: the family of its method.
        outcomes: in the order of the seeds.
    """

    label: str
    family: str
    outcomes: tuple[Outcome, ...]

    @property
    def measured(self) -> tuple[Outcome, ...]:
        """The outcomes with samples."""
        return tuple(outcome for outcome in self.outcomes if outcome.verdict == "measured")

    @property
    def kind(self) -> str:
        """How its map is sampled."""
        return next((outcome.kind for outcome in self.measured), "")

    @property
    def distils(self) -> bool:
        """Whether it needs a teacher or an earlier stage."""
        return any(outcome.before for outcome in self.outcomes)

    def spread(self, steps: int | None, column: int = 0) -> Spread:
        """A metric of the samples by that number of calls, of the solver's for None; a seed that diverged is lost."""
        values = [outcome.value(steps, column) for outcome in self.measured]
        return Spread.of([*values, *[math.nan] * (len(self.outcomes) - len(values))])

    def cost(self, name: str) -> Spread:
        """Another number of the outcomes, by its name."""
        return Spread.of([float(getattr(outcome, name)) for outcome in self.measured])

    @property
    def faults(self) -> tuple[str, ...]:
        """Why some of its outcomes have no samples, a sentence each."""
        return tuple(
            f"{outcome.name}: {outcome.verdict}{f', {outcome.told}' if outcome.told else ''}"
            for outcome in self.outcomes
            if outcome.verdict != "measured"
        )


def rows_of(outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
    """The rows that outcomes make, in their order; schedule and coupling are named where there are several."""
    told = [("schedule", {o.schedule for o in outcomes}), ("pairing", {o.pairing for o in outcomes})]
    varied = [name for name, values in told if len(values) > 1]
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        label = ", ".join([" ".join((outcome.method, *outcome.options)), *(getattr(outcome, name) for name in varied)])
        groups.setdefault(label, []).append(outcome)
    return tuple(
        Row(label, group[0].family, tuple(sorted(group, key=lambda outcome: outcome.seed)))
        for label, group in groups.items()
    )

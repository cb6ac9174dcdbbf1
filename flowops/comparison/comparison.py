"""A comparison: every number of it, its tables and its figure, written into its folder and read again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flowops._files import write_text
from flowops.comparison import tables
from flowops.comparison.figure import save_figure_of
from flowops.comparison.findings import told
from flowops.comparison.outcome import Outcome
from flowops.comparison.row import Row, rows_of
from flowops.evaluation.plain import finite

VERSION = 1
NAME = "compare"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found so far.

    Attributes:
        settings: what all entries share: data, network, budget, how samples are measured; texts, numbers and lists.
        facts: with what it was made: versions, device, commit.
        outcomes: what came of every entry that is finished.
        waiting: names of the others.
        excluded: rows that were meant and are not compared, each with the reason.
    """

    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    waiting: tuple[str, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the table: one for each method, schedule and coupling, over the seeds that are finished.

        A teacher that was trained for other rows alone is one too; the earlier stage of a row is none.
        """
        return rows_of([outcome for outcome in self.outcomes if outcome.role != "stage"])

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of calls."""
        return tuple(self.settings["steps"])

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the metrics; the first is the distance of the table and the figure."""
        return next((outcome.columns for outcome in self.outcomes if outcome.columns), ())

    def markdown(self) -> str:
        """The tables and what belongs to them."""
        parts = [self.head()]
        if self.columns:
            parts += self._tables(self.rows)
        if failed := tables.unmeasured(self.outcomes):
            parts.append("Without samples:\n\n" + "\n".join(failed))
        if self.excluded:
            parts.append("Not compared:\n\n" + "\n".join(f"* `{name}`: {why}" for name, why in self.excluded))
        if self.waiting:
            total = len(self.waiting) + len(self.outcomes)
            parts.append(f"{len(self.waiting)} of {total} entries are still to run; the same command goes on.")
        return "\n\n".join(part for part in parts if part)

    def table(self) -> str:
        """The first of the tables, the distances; empty before the first entry."""
        known = [row for row in self.rows if row.measured]
        return tables.distances(known, self.steps, self.columns, self.settings["solver"]) if known else ""

    def findings(self) -> str:
        """What follows from the numbers, as a list of Markdown; empty before the first entry."""
        return told(self.rows, self.steps) if self.columns else ""

    def save(self, folder: Path | str, name: str = NAME) -> None:
        """Write `name` .json, .md and .png into a folder, each whole or not at all.

        Raises:
            OSError: for a folder that cannot be written.
            ImportError: without matplotlib; the message names the extra.
        """
        folder = Path(folder)
        write_text(folder / f"{name}.json", json.dumps(self.plain(), indent=1) + "\n")
        write_text(folder / f"{name}.md", self.markdown() + "\n")
        if self.columns:
            data = next((o.data.values[0] for o in self.outcomes if o.data is not None), math.nan)
            save_figure_of(folder / f"{name}.png", self.rows, self.steps, self.columns[0], data)

    def plain(self) -> dict[str, Any]:
        """Everything as names and values that JSON can hold."""
        held: dict[str, Any] = finite(
            {
                "version": VERSION,
                "settings": dict(self.settings),
                "facts": dict(self.facts),
                "outcomes": [outcome.plain() for outcome in self.outcomes],
                "waiting": list(self.waiting),
                "excluded": [list(each) for each in self.excluded],
            }
        )
        return held

    @classmethod
    def load(cls, path: Path | str) -> Comparison:
        """The comparison in a .json file, or in the folder that holds it.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: for a file that is not that of a comparison.
        """
        path = Path(path)
        path = path / f"{NAME}.json" if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(f"`{path}` must be the file of a comparison, and there is none; check the path.")
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["version"] != VERSION:
                raise ValueError(f"version {held['version']!r}")
            return cls(
                held["settings"], held["facts"], tuple(map(Outcome.read, held["outcomes"])), tuple(held["waiting"]),
                tuple((name, why) for name, why in held["excluded"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`{path}` must be the file of a comparison of version {VERSION}, and it is not ({error}); move it "
                f"away."
            ) from error

    def head(self) -> str:
        """What was compared, how and with what, in a sentence."""
        told, facts = self.settings, self.facts
        seeds = sorted({outcome.seed for outcome in self.outcomes})
        made = ", ".join(
            [f"seeds {', '.join(map(str, seeds))}" if len(seeds) != 1 else f"seed {seeds[0]}"] * bool(seeds)
            + [f"torch {facts['torch']}", str(facts["device"]), f"{facts['jobs'] or 1} at a time"]
        )
        return (
            f"{told['data']}, {told['budget']}; {told['network']}; {told['n']} samples of each sampler, compared with "
            f"the split {told['split']}; {made}."
        )

    def _tables(self, rows: Sequence[Row]) -> list[str]:
        known = [row for row in rows if row.measured]
        return [
            self.table(),
            tables.at_equal_numbers(known, self.steps, self.columns),
            tables.precision_and_recall(known, self.steps, self.columns),
            tables.costs(known),
            "\n".join(f"* {note}" for note in tables.notes(known)),
        ]

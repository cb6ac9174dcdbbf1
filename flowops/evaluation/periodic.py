"""Evaluations of a run while it trains: a row for every average and number of steps, and the best average kept."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from flowops._files import write_text
from flowops.evaluation.evaluation import evaluate
from flowops.runs import EvaluateConfig, Run, RunFolder
from flowops.runs.checkpoint import load_weights
from flowops.runs.folder import average_names
from flowops.runs.processes import on_first, together
from flowops.runs.saving import remove_later, save_checkpoint
from flowops.runs.tables import cut_table

FILE, BEST = "distances.csv", "best.json"
FIRST = ("step", "average", "steps")


class Report(Protocol):
    """What a training hands to its callbacks, as far as it is looked at here."""

    @property
    def step(self) -> int:
        """Number of steps done."""

    @property
    def run(self) -> Callable[[], Run]:
        """Makes the run of the weights as they are."""


@dataclass(frozen=True)
class Best:
    """The average of the least distance so far.

    Attributes:
        step: of its checkpoint.
        average: its name.
        distance: in the first of the numbers of steps.
        column: what the distance is, with the name of the features.
        samples: how many were compared.
    """

    step: int
    average: str
    distance: float
    column: str
    samples: int


class Periodic:
    """A callback that evaluates every average of the checkpoints of a run, and keeps the best one apart in `best/`.

    `distances.csv` has a row for each step, average and number of steps of the map, with every column of `evaluate` and
    the features by name in it. What is judged is read from the checkpoint that was just written, so that a run that was
    killed before its evaluation has it when it goes on; rows of steps that are done again are cut. Where there are
    several processes each of them calls it, and they share the samples.

    Args:
        folder: that of the run.
        config: how often, and with what.
        start: number of steps that were done before, whose checkpoint is there.
        report: is told a line for each evaluation.
        given: objects that `Run.load` wants again: data set, network, teacher.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: EvaluateConfig,
        start: int = 0,
        report: Callable[[str], None] = lambda _: None,
        **given: Any,
    ) -> None:
        self.folder, self.config, self.report, self.given = folder, config, report, given
        self.file, self.start = folder.path / FILE, start
        self.best: Best | None = together(self._before)

    def __call__(self, report: Report) -> None:
        """Evaluate where it is time to, before that a checkpoint of before that was missed."""
        device = None
        if self.start and self.start % self.config.every == 0 and not self._judged(self.start):
            device = report.run().device
            self._judge(self.start, device)
        self.start = 0
        if report.step % self.config.every == 0:
            self._judge(report.step, device or report.run().device)

    def _judge(self, step: int, device: torch.device) -> None:
        for name in average_names(self.folder.settings(_nothing)):
            run = Run.load(self.folder.path, step=step, average=name, device=device, report=_nothing, **self.given)
            c = self.config
            found = evaluate(run, steps=c.steps, n=c.samples, features=c.features, solvers=())
            rows = [(step, name, k, *row.values) for k, row in zip(c.steps, found.rows, strict=False)]
            on_first(lambda columns=found.columns, rows=rows: self._write(columns, rows))  # type: ignore[misc]
            best = Best(step, name, found.rows[0].values[0], found.columns[0], c.samples)
            self.report(f"Step {step}, average {name}: {best.column} {best.distance:.4g} in {c.steps[0]} of the map.")
            if math.isfinite(best.distance) and not self._beaten(best):
                on_first(lambda best=best: self._keep(best))  # type: ignore[misc]
                self.best = best

    def _beaten(self, new: Best) -> bool:
        """Whether the best so far is as good, by the same measure; one by another measure is no match."""
        old = self.best
        same = old is not None and (old.column, old.samples) == (new.column, new.samples)
        return same and old is not None and old.distance <= new.distance

    def _write(self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        """Add rows to the table, whole or not at all; one of other columns is set aside as `distances-<n>.csv`."""
        header, before = [*FIRST, *columns], list[list[str]]()
        if self.file.is_file():
            with self.file.open(newline="", encoding="utf-8") as file:
                before = list(csv.reader(file))
            if before and before[0] != header:
                number = next(n for n in range(1, 10**6) if not self.file.with_name(f"distances-{n}.csv").exists())
                self.file.rename(self.file.with_name(f"distances-{number}.csv"))
                before = []
        lines = before or [header]
        lines += [[f"{value:.6g}" if isinstance(value, float) else str(value) for value in row] for row in rows]
        write_text(self.file, "".join(",".join(line) + "\n" for line in lines))

    def _keep(self, best: Best) -> None:
        _, weights = load_weights(self.folder.checkpoints, best.step, best.average)
        save_checkpoint(
            self.folder.best, best.step, weights=weights, averages={best.average: weights}, state={}, keep=1
        )
        write_text(self.folder.best / BEST, json.dumps(vars(best), indent=2) + "\n")

    def _judged(self, step: int) -> bool:
        if not self.file.is_file():
            return False
        with self.file.open(newline="", encoding="utf-8") as file:
            return any(row["step"] == str(step) for row in csv.DictReader(file))

    def _before(self) -> Best | None:
        """What was found up to the step from which the run goes on; what lies beyond it is removed."""
        if not self.start:
            on_first(lambda: shutil.rmtree(self.folder.best, ignore_errors=True))
            on_first(lambda: self.file.unlink(missing_ok=True))
            return None
        on_first(self._cut)
        try:
            found = Best(**json.loads((self.folder.best / BEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.step <= self.start else None

    def _cut(self) -> None:
        if self.file.is_file():
            with self.file.open(newline="", encoding="utf-8") as file:
                header = next(csv.reader(file), [])
            cut_table(self.file, tuple(header), self.start)
        if self.folder.best.is_dir():
            remove_later(self.folder.best, self.start)


def _nothing(_: str) -> None:
    """Say nothing."""

"""Rows of `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping

from flowops.runs.tables import MetricsLog
from flowops.training.loggers.logger import End, Logger, RunStart


class CSVLogger(Logger):
    """The table `metrics.csv` of a run: a row is in the file when it is told; those of steps done again are cut."""

    what = "row of metrics"

    def __init__(self) -> None:
        self._table: MetricsLog | None = None

    def begin(self, start: RunStart) -> None:
        self._table = MetricsLog(start.folder.metrics, start.columns, resume_step=start.step, grows="loss/")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._table is not None:
            self._table.write(step, values)

    def finish(self, why: End) -> None:
        if self._table is not None:
            self._table.close()

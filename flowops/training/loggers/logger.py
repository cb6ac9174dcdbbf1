"""What a logger is, what it is told of the run that begins, and the two that write into the folder of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flowops._named import require
from flowops.runs import RunFolder, TrainConfig
from flowops.runs.tables import MetricsLog

Picture: TypeAlias = NDArray[np.uint8]
End: TypeAlias = Literal["finished", "interrupted", "failed"]
"""How a run ended: with its last step, by a signal after which it can go on, or by an error."""


@dataclass(frozen=True)
class RunStart:
    """What is known of a run when it begins, or goes on.

    Attributes:
        folder: where it is written.
        config: every setting.
        facts: what stands in `run.json`: versions, device, data and their shape.
        columns: names of the values of every row; those of the terms of the loss come besides.
        step: number of steps that were done before, 0 for a new run. Rows beyond it will come again.
    """

    folder: RunFolder
    config: TrainConfig
    facts: Mapping[str, Any]
    columns: tuple[str, ...]
    step: int


@runtime_checkable
class Logger(Protocol):
    """Where a run tells what it measures; a subclass writes the methods that it wants, the others do nothing.

    It is made before the run begins and used by the first process alone. `ImportError`, `TypeError` and `ValueError` of
    `begin` refuse the run before its first step. Whatever else a method raises costs a line in the log of the run: a
    logger whose `begin` failed is left out from then on.

    Attributes:
        what: what is missing when it fails, for that line.

    >>> class Printed(Logger):
    ...     def scalars(self, step, values):
    ...         print(step, values["loss"])
    >>> isinstance(Printed(), Logger)
    True
    """

    what: str = "row of a logger"

    def begin(self, start: RunStart) -> None:
        """The run begins, or goes on after `start.step` steps."""
        return

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A row of numbers: `start.columns`, and `loss/<term>` for each term of the loss."""
        return

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        """Pictures by name, bytes `[height, width, 3]` each; a run draws none unless it has samples to be drawn."""
        return

    def finish(self, why: End) -> None:
        """The run ended; nothing follows."""
        return


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


class TensorBoardLogger(Logger):
    """Event files in `logs/` of a run; where tensorboard is not installed, nothing happens.

    What was written beyond the step from which a run goes on is hidden, as `purge_step` says.
    """

    what = "event file"

    def __init__(self) -> None:
        self._writer: Any = None

    @property
    def active(self) -> bool:
        """Whether anything is written."""
        return self._writer is not None

    def begin(self, start: RunStart) -> None:
        try:
            require("tensorboard", "train")
        except ImportError:
            return
        purge = start.step + 1 if start.step else None
        writer = require("torch.utils.tensorboard", "train").SummaryWriter
        self._writer = writer(str(start.folder.logs), purge_step=purge)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items() if self.active else ():
            self._writer.add_scalar(name, float(value), step)

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        for name, picture in pictures.items() if self.active else ():
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def finish(self, why: End) -> None:
        if self.active:
            self._writer.close()

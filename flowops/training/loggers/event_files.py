"""Event files of TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowops._named import require
from flowops.training.loggers.logger import End, Logger, Picture, RunStart


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

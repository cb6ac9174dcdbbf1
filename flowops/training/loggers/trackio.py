"""Trackio: a tracker on this machine."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any

from flowops._named import require
from flowops.training.loggers.logger import End, Logger, Picture, RunStart
from flowops.training.loggers.sent import Sent


class TrackioLogger(Logger):
    """A run of trackio in its database on this machine, `TRACKIO_DIR`, which `trackio show` shows.

    Its name is that of the folder and an id, under which it goes on; rows of steps that are done again are not logged
    twice.
    """

    what = "row for trackio"

    def __init__(self) -> None:
        self._run: Any = None

    def begin(self, start: RunStart) -> None:
        trackio = require("trackio", "log")
        self._sent = Sent(start.folder.logs / "trackio.json", resumed=start.step > 0)
        self._image, self._end = trackio.Image, trackio.finish
        with redirect_stdout(io.StringIO()):  # it prints how to look at it
            self._run = trackio.init(
                project=start.config.log.project, name=f"{start.folder.path.resolve().name}-{self._sent.identity}",
                resume="allow", config={**asdict(start.config), "run": dict(start.facts)}, embed=False,
            )  # fmt: skip

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, values)

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        self._log(step, {name: self._image(picture) for name, picture in pictures.items()})

    def finish(self, why: End) -> None:
        if self._run is not None:
            with redirect_stdout(io.StringIO()):
                self._end()

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        if self._run is not None and self._sent.new(step):
            self._run.log(dict(values), step=step)
            self._sent.note(step)

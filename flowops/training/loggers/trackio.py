"""Trackio: a tracker on this machine."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import asdict

from flowops._named import require
from flowops.training.loggers.logger import End, RunStart
from flowops.training.loggers.tracker import Sent, Tracker


class TrackioLogger(Tracker):
    """A run of trackio in its database on this machine, `TRACKIO_DIR`, which `trackio show` shows.

    Its name is that of the folder and an id, under which it goes on.
    """

    what = "row for trackio"

    def begin(self, start: RunStart) -> None:
        trackio = require("trackio", "log")
        self.sent = Sent(start.folder.logs / "trackio.json", resumed=start.step > 0)
        self.image, self._end = trackio.Image, trackio.finish
        with redirect_stdout(io.StringIO()):  # it prints how to look at it
            self.run = trackio.init(
                project=start.config.log.project, name=f"{start.folder.path.resolve().name}-{self.sent.identity}",
                resume="allow", config={**asdict(start.config), "run": dict(start.facts)}, embed=False,
            )  # fmt: skip

    def finish(self, why: End) -> None:
        if self.run is not None:
            with redirect_stdout(io.StringIO()):
                self._end()

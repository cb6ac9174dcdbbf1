"""Weights & Biases, on this machine unless it is told to send."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flowops._named import require
from flowops.training.loggers.logger import End, Logger, Picture, RunStart
from flowops.training.loggers.sent import Sent


class WandbLogger(Logger):
    """A run of Weights & Biases in `logs/wandb/`, which goes on under the same id.

    It is sent while it goes where `WANDB_MODE` says so or `WANDB_API_KEY` is set; otherwise it is offline, nobody is
    asked for a key, and `wandb sync RUN/logs/wandb/offline-*` sends it later. Steps are those of the training. Rows of
    steps that are done again are not logged twice.
    """

    what = "row for wandb"

    def __init__(self) -> None:
        self._run: Any = None

    def begin(self, start: RunStart) -> None:
        wandb = require("wandb", "log")
        logs = start.folder.logs
        self._sent = Sent(logs / "wandb.json", resumed=start.step > 0)
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or start.config.log.project, name=start.folder.path.resolve().name,
            id=self._sent.identity, resume="allow", dir=str(logs), mode=mode, reinit="create_new",
            config={**asdict(start.config), "run": dict(start.facts)},
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, values)

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        self._log(step, {name: self._image(picture) for name, picture in pictures.items()})

    def finish(self, why: End) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if why == "finished" else 1)

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        if self._run is not None and self._sent.new(step):
            self._run.log(dict(values), step=step)
            self._sent.note(step)

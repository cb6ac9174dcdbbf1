"""Weights & Biases, on this machine unless it is told to send."""

from __future__ import annotations

import os
from dataclasses import asdict

from flowops._named import require
from flowops.training.loggers.logger import End, RunStart
from flowops.training.loggers.tracker import Sent, Tracker


class WandbLogger(Tracker):
    """A run of Weights & Biases in `logs/wandb/`, which goes on under the same id.

    It is sent while it goes where `WANDB_MODE` says so or `WANDB_API_KEY` is set; otherwise it is offline, nobody is
    asked for a key, and `wandb sync RUN/logs/wandb/offline-*` sends it later. Steps are those of the training.
    """

    what = "row for wandb"

    def begin(self, start: RunStart) -> None:
        wandb = require("wandb", "log")
        logs = start.folder.logs
        self.sent = Sent(logs / "wandb.json", resumed=start.step > 0)
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self.image = wandb.Image
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or start.config.log.project, name=start.folder.path.resolve().name,
            id=self.sent.identity, resume="allow", dir=str(logs), mode=mode, reinit="create_new",
            config={**asdict(start.config), "run": dict(start.facts)},
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip

    def finish(self, why: End) -> None:
        if self.run is not None:
            self.run.finish(exit_code=0 if why == "finished" else 1)

"""The stage that trains: some hundred steps of the recipe, then as far as the minutes of each call allow."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.gpu.recipe import TINY, Setting
from experiments.gpu.timing import rounded
from experiments.recipes.cifar10_lsd import CONFIG
from flowops.training import Run, TrainConfig, train

RESERVE = 60.0  # seconds for the last checkpoint and the picture


def run_folder(setting: Setting) -> Path:
    """Where the run on these data lies; a tiny one is another run."""
    data = re.sub(r"\W+", "_", setting.dataset.name)
    return setting.runs / f"gpu_{'tiny_' * setting.tiny}{data}"


def recipe(setting: Setting, out: Path) -> TrainConfig:
    """The recipe itself, or a small one."""
    hardware = replace(CONFIG.hardware, accelerator=setting.device.type)
    log = replace(CONFIG.log, keep=1, progress=False, tensorboard=False, sample_every=0)
    config = replace(
        CONFIG, dataset=setting.dataset.name, checkpoint_every=500, hardware=hardware, log=log, out=str(out)
    )
    return replace(config, network=TINY, batch=setting.batch, checkpoint_every=4) if setting.tiny else config


def trained(setting: Setting, steps: int, minutes: float) -> dict[str, Any]:
    """Train up to so many steps or minutes, those of the calls before included."""
    config = replace(recipe(setting, run_folder(setting)), steps=steps, minutes=minutes)
    run = train(config, dataset=setting.dataset, resume=True, report=lambda _: None)
    return {"step": run.step, "of": steps, **curve(run)}


def curve(run: Run) -> dict[str, Any]:
    """Means of the loss over twenty parts so far, speed and use of the device, waiting, and steps that were skipped."""
    with run.folder.metrics.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    size = -(-len(rows) // 20)
    parts = [rows[k : k + size] for k in range(0, len(rows), size)]
    speeds = sorted(row["samples_per_second"] for row in rows)
    used = sorted(row["utilization"] for row in rows if "utilization" in row)  # none on a device of unknown peak
    facts = json.loads(run.folder.facts.read_text(encoding="utf-8"))
    return {
        "loss": [[int(part[-1]["step"]), rounded(sum(row["loss"] for row in part) / len(part))] for part in parts],
        "images_per_second": rounded(speeds[len(speeds) // 2]),
        "utilization": rounded(used[len(used) // 2]) if used else None,
        "waiting_share": rounded(sum(row["waiting_share"] for row in rows) / len(rows)),
        "skipped": int(rows[-1]["skipped"]),
        "data": facts["data"],
    }


def measures(setting: Setting, left: Callable[[], float]) -> dict[str, Callable[[], dict[str, Any]]]:
    """The first steps, and what follows."""
    first, last = (6, 12) if setting.tiny else (300, CONFIG.steps or 400_000)
    folder = run_folder(setting)

    def further() -> dict[str, Any]:
        before = seconds(folder)
        minutes = max(left() - RESERVE * (not setting.tiny), 10.0) / 60
        found = trained(setting, last, before / 60 + minutes)
        return {**found, "seconds": rounded(seconds(folder)), "done": found["step"] >= last}

    return {"first steps": lambda: trained(setting, first, 0.0), "further": further}


def seconds(folder: Path) -> float:
    """How long the run in a folder has trained so far."""
    from flowops.runs.checkpoint import latest_checkpoint

    found = latest_checkpoint(folder / "checkpoints", lambda _: None)
    return 0.0 if found is None else float(found.state["seconds"])

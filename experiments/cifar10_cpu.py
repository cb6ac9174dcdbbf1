"""CIFAR-10 on a CPU for an hour: the loss falls, the images take colour, from files to a table.

    python -m experiments.cifar10_cpu folder:PATH --out runs/cifar10_cpu

trains the default U-Net by `lsd`, and writes `progress.md` (mean loss between checkpoints) and `progress.png` (the
same noise in two steps of the map at several checkpoints). An interrupted run goes on when the command is given
again. `flowops evaluate` measures it, with the features of `experiments.cifar10_features`, say.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence

from experiments._recipes import configured, stage, status
from flowops._files import write_text
from flowops.pictures import save_comparison
from flowops.runs.processes import on_first
from flowops.training import LogConfig, OptimizerConfig, Run, TrainConfig

CONFIG = TrainConfig(
    "folder:cifar10-jpeg",
    method="lsd",
    steps=1_000,
    batch=64,
    optimizer=OptimizerConfig(rate=1e-3, warmup=20),
    averages=(0.99, 0.999),
    checkpoint_every=50,
    log=LogConfig(telemetry_every=100, sample_every=100, keep=0),
    out="runs/cifar10_cpu",
)
SHOWN = (50, 100, 200, 400, 1_000)


def go(words: Sequence[str] | None = None) -> None:
    """Train, and show how far it came."""
    config, _ = configured(CONFIG, "cifar10_cpu", words)
    run = stage(config)
    on_first(lambda: show(run))


def show(run: Run) -> None:
    """The table and the picture of a run."""
    text = table(run)
    write_text(run.folder.path / "progress.md", text)
    kept = [step for step in SHOWN if (run.folder.checkpoints / str(step)).is_dir()]
    runs = {f"after {step} steps": Run.load(run.folder.path, step=step, device=run.device) for step in kept}
    save_comparison(
        run.folder.path / "progress.png", {name: each.sample(10, steps=2).cpu() for name, each in runs.items()}
    )
    print(f"{text}\nwrote {run.folder.path / 'progress.md'} and {run.folder.path / 'progress.png'}")


def table(run: Run) -> str:
    """The mean loss of the steps before each of the checkpoints that are shown."""
    with run.folder.metrics.open(newline="", encoding="utf-8") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    lines, first = ["| steps | mean loss |", "|---|---|"], 0
    for last in (*(step for step in SHOWN if step < run.step), run.step):
        losses = [loss for step, loss in rows if first < step <= last]
        lines.append(f"| {first + 1} to {last} | {sum(losses) / max(len(losses), 1):.0f} |")
        first = last
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(status(go, "cifar10_cpu"))

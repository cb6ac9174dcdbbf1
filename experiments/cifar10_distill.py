"""CIFAR-10 by distillation: a teacher by flow matching, then its flow map by `lmd` and by `emd`, all in one table.

    python -m experiments.cifar10_distill --data PATH --steps 100000 --out runs/cifar10_distill

writes one run a method into `--out` (`fm`, `lmd`, `emd`) and a table `distillation.md`: the teacher by dopri5 and Heun,
the maps in 1, 2, 4 and 8 steps, with network calls and time. Every run goes on where it was interrupted when the
command is given again. The maps start from the weights of the teacher, whose diagonal is all that it has learned.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments._recipes import configured, judged, stage, status
from experiments.recipes.cifar10_lsd import CONFIG as CIFAR10
from flowops._files import write_text
from flowops.runs.processes import on_first
from flowops.training import HardwareConfig

HARDWARE = HardwareConfig(precision="bf16")
CONFIG = replace(
    CIFAR10, method="fm", options=(), data_options=(), steps=200_000, hardware=HARDWARE, out="runs/cifar10_distill"
)
# the argument of the teacher is held and large losses are tempered: the full gradient diverges early
STUDENTS = {"lmd": ("stop_gradient=true", "p=0.5", "c=0.01"), "emd": ("form=velocity", "stop_gradient=true")}


def distil(words: Sequence[str] | None = None, n: int = 10_000) -> None:
    """Three runs and their table, with `n` samples of each sampler."""
    config, _ = configured(CONFIG, "cifar10_distill", words)
    out = Path(config.out)
    teacher = stage(config, out=str(out / "fm"))
    tables = [judged(teacher, n=n)]
    for name, options in STUDENTS.items():
        folder = str(teacher.folder.path)
        student = stage(config, method=name, options=options, teacher=folder, init=folder, out=str(out / name))
        tables.append(judged(student, n=n, solvers=()))

    def write() -> None:
        write_text(out / "distillation.md", "\n\n".join(table.markdown() for table in tables) + "\n")
        print(f"wrote {out / 'distillation.md'}")

    on_first(write)


if __name__ == "__main__":
    sys.exit(status(distil, "cifar10_distill"))

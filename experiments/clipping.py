"""What a largest gradient means on events of several sizes: the share of steps that it cuts, in two units.

    python -m experiments.clipping folder:PATH          # points, digits and the images in PATH; a few minutes

writes `experiments/results/clipping.md`: `optimizer.clip` 1.0 as a number, and 2.0 as a multiple of the running norm.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from experiments._recipes import status
from flowops._files import write_text
from flowops.training import LogConfig, NetworkConfig, OptimizerConfig, StepReport, TrainConfig, train

FILE = Path(__file__).parent / "results" / "clipping.md"
QUIET = LogConfig(progress=False, tensorboard=False, telemetry_every=0)
CONSTANT = OptimizerConfig(rate=1e-3, schedule="constant")
UNITS: tuple[tuple[str, OptimizerConfig], ...] = (
    ("1.0", replace(CONSTANT, clip=1.0)),
    ("2.0 of the running norm", replace(CONSTANT, clip=2.0, clip_unit="running-norm")),
)


@dataclass
class Norms:
    """A callback that keeps the norm of each step and the largest that was allowed."""

    seen: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, report: StepReport) -> None:
        self.seen.append((float(report.norm), float(report.most)))

    def row(self) -> str:
        """The share of the steps that were cut, and the norms."""
        norms = torch.tensor([norm for norm, _ in self.seen])
        cut = sum(norm > most for norm, most in self.seen) / len(self.seen)
        return f"{100 * cut:.1f} % | {norms.median():.3g} | {norms.max():.3g}"


def configs(images: str) -> dict[str, TrainConfig]:
    """What is trained, by lsd."""
    small = NetworkConfig("unet", channels=16, multipliers=(1, 2), blocks=1, attention=(), heads_width=16)
    shared: dict[str, Any] = {"method": "lsd", "labels": False, "log": QUIET}
    shared |= {"averages": (0.99,), "checkpoint_every": 0}
    points, wide = NetworkConfig("mlp", width=64, depth=3), NetworkConfig("mlp", width=128, depth=3)
    return {
        "moons, 2 numbers": TrainConfig("moons", steps=600, batch=256, network=points, **shared),
        "digits, 8 x 8": TrainConfig("digits", steps=600, batch=128, network=wide, **shared),
        "CIFAR-10, 3 x 32 x 32": TrainConfig(images, steps=120, batch=32, network=small, **shared),
    }


def measure(images: str) -> str:
    """The page."""
    lines = [
        "# Which steps a largest gradient cuts",
        "",
        "`lsd` from the first weights, Adam at 1e-3, seed 0: the share of the steps whose gradient is cut, the median "
        "and the largest norm. `python -m experiments.clipping folder:PATH` writes this page.",
        "",
        "| data | steps x batch | clip | cut | median norm | largest norm |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs(images).items():
            for k, (unit, optimizer) in enumerate(UNITS):
                norms = Norms()
                out = str(Path(folder) / f"{config.dataset.partition(':')[0]}{k}")
                train(replace(config, optimizer=optimizer, out=out), report=lambda _: None, callbacks=norms)
                lines.append(f"| {name} | {config.steps} x {config.batch} | {unit} | {norms.row()} |")
    lines += [
        "",
        "Where every step is cut, the length of a step is that of the rate alone, and the clip is a normalization.",
    ]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """The command; the exit status."""
    given = sys.argv[1:] if words is None else list(words)

    def work() -> None:
        if len(given) != 1:
            raise ValueError(f"One data set of images must be given, such as folder:PATH, got {given}; name one.")
        text = measure(given[0])
        write_text(FILE, text)
        print(f"{text}wrote {FILE}")

    return status(work, "clipping")


if __name__ == "__main__":
    sys.exit(main())

"""A flow map learned on the checkerboard: its KL by number of steps, the solver it replaces, its residuals, a figure.

    python -m experiments.checkerboard --minutes 20 --data-options pairs=262144
    python -m experiments.checkerboard --method lmd --minutes 4.5

trains, and writes `evaluation.md` (divergence of 64,000 samples by number of network calls beside that of solvers of
the map's own field) and `board.png` into `--out`. Every flag of `flowops train` changes a setting; a method that
distils is given the exact field of independent pairs. An interrupted run goes on with `--resume`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from experiments._board import COLUMNS, SAMPLES, residual_maps, save_board
from experiments._recipes import configured, status
from flowops import problems
from flowops.cli.console import to_stderr
from flowops.evaluation import evaluate
from flowops.methods import get_method
from flowops.runs.processes import on_first
from flowops.training import HardwareConfig, NetworkConfig, OptimizerConfig, Run, TrainConfig, train

CONFIG = TrainConfig(
    "transported:checkerboard",
    method="lsd",
    alpha="(1-t)/sqrt(3)",  # the base scaled to the data's standard deviation (2505.18825 §G.1)
    beta="t",
    minutes=2.0,
    batch=2_048,
    network=NetworkConfig("mlp", width=256, depth=4, octaves=4),
    optimizer=OptimizerConfig(kind="muon", schedule="linear", warmup=200, beta2=0.999, clip=10.0),
    hardware=HardwareConfig(compile="yes"),
    averages=(0.999,),
    out="runs/checkerboard",
)
STEADY: Mapping[str, tuple[str, ...]] = {
    "esd": ("form=velocity",),  # the form of the map diverges at the rate that serves the others
    "lmd": ("stop_gradient=true", "p=1.0", "c=0.1"),  # off the board the exact field is steep near t = 1
}
"""Options that keep a method stable here; a weight does not move the minimizer of a row with a teacher."""
BEST: Mapping[str, tuple[str, ...]] = {"lsd": ("eta=0.5", "law=InsideSteps(3)")}
"""Options found better than those of the table: half of the pairs of times lie inside steps of samplers of 1, 2, 4."""
STEPS = (1, 2, 4, 8, 16)
METRICS = tuple(f"experiments._board:{factory.__name__}" for factory in COLUMNS.values())


def settled(config: TrainConfig) -> TrainConfig:
    """The settings with what a method needs on the board: options that serve it best, and the exact field to distil.

    The field is that of independent pairs, so that pairs coupled by transport are not used with it.
    """
    wanted = get_method(config.method).row.teacher
    if not config.options:
        config = replace(config, options=BEST.get(config.method, STEADY.get(config.method, ())))
    if wanted and not wanted.startswith("optional") and config.teacher is None:
        dataset = config.dataset.removeprefix("transported:")
        config = replace(config, dataset=dataset, data_options=(), teacher="problem:checkerboard")
    return config


def judged(run: Run) -> None:
    """The table and the figure of a run, written into its folder."""
    found = evaluate(run, steps=STEPS, n=SAMPLES, solvers=("dopri5",), metrics=METRICS, report=to_stderr)

    def write() -> None:
        found.save(run.folder.path / "evaluation.md")
        exact = problems.checkerboard(run.interpolant).sample_data(SAMPLES, generator=torch.Generator().manual_seed(0))
        clouds = {"data": exact} | {drawn.sampler: drawn.x for drawn in (run.draw(SAMPLES, steps=k) for k in STEPS)}
        save_board(run.folder.path / "board.png", {name: x.cpu() for name, x in clouds.items()}, residual_maps(run))
        print(f"{found.markdown()}\nwrote {run.folder.path / 'evaluation.md'} and {run.folder.path / 'board.png'}")

    on_first(write)


def go(words: Sequence[str] | None = None) -> None:
    """Train and judge."""
    config, resume = configured(CONFIG, "checkerboard", words)
    judged(train(settled(config), resume=resume, report=to_stderr))


if __name__ == "__main__":
    sys.exit(status(go, "checkerboard"))

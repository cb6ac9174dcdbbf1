"""`flowops evaluate`: the table of a run, on the terminal and in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowops.cli.choice import FLAGS, Sampling, load
from flowops.cli.console import to_stderr, to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.evaluation import evaluate
from flowops.runs.processes import on_first


@dataclass(frozen=True)
class Evaluate(Sampling):
    """Measure samples of RUN against its data: by its map, by solvers of its field, and other data.

    The table goes to the standard output, and to RUN/evaluation.md and RUN/evaluation.json.

    Under torchrun or SLURM the processes share the samples; the first one measures and writes.

    Attributes:
        steps: numbers of equal steps along the map.
        n: samples of each sampler.
        features: features of images; pixels if left out, inception, dinov2, or package.module:factory.
        split: split of the data, train or test.
        solver: solvers of the map's own diagonal field.
        solver_steps: equal steps of the solvers that have a fixed number of them.
        guidance: scale of classifier-free guidance, for a run with labels.
        interval: times at which it guides; all times if left out.
        seed: seed of the noise, and of the choice of data.
        metrics: further columns; package.module:factory, a function of the data that gives a function of samples.
        out: the table, .md, with the same as .json beside it; RUN/evaluation.md if left out.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8)
    n: int = 5000
    features: str | None = None
    split: str = "train"
    solver: tuple[Literal["dopri5", "heun", "euler", "ddim", "dpm-solver"], ...] = ("dopri5", "heun")
    solver_steps: int = 18
    guidance: float | None = None
    interval: tuple[float, float] | None = None
    seed: int = 0
    metrics: tuple[str, ...] = ()
    out: str | None = None


def run(args: Sequence[str]) -> int:
    """Evaluate, print the table and write it."""
    shown = {"features": "NAME", "interval": "LOW HIGH"}
    given = parse(
        Evaluate, args, "evaluate", flags={**FLAGS, **{name: Flag(shown=text) for name, text in shown.items()}}
    )
    if given.out is not None and Path(given.out).suffix != ".md":
        raise ValueError(f"`out` must end in .md, got {given.out}; the table is Markdown, with a .json beside it.")
    chosen = load(given)
    found = evaluate(
        chosen,
        steps=given.steps,
        n=given.n,
        features=given.features,
        split=given.split,
        solvers=given.solver,
        solver_steps=given.solver_steps,
        guidance=given.guidance,
        interval=given.interval,
        seed=given.seed,
        chunk=given.chunk,
        metrics=given.metrics,
        report=to_stderr,
    )
    on_first(lambda: found.save(given.out or chosen.folder.path / "evaluation.md"))
    to_stdout(found.markdown())
    return 0

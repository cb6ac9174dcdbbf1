"""`flowops export`: a run for elsewhere, as a program that runs with torch alone or a folder of diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowops.cli.choice import FLAGS, RunChoice, grid_of, load
from flowops.cli.console import to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.runs.exporting import to_diffusers
from flowops.runs.processes import told
from flowops.sampling import export_sampler


@dataclass(frozen=True)
class Export(RunChoice):
    """Write RUN for elsewhere: its sampler as a program, or its map as a folder of diffusers.

    A program (x0[, label][, guidance][, interval]) -> x1 runs on the --device that it was made for.

    A folder of diffusers is opened by FlowMapPipeline.from_pretrained, and takes any number of steps.

    What is written is loaded and compared with the run before it takes its place.

    Attributes:
        to: program for torch alone; diffusers for a FlowMapPipeline.
        steps: along the map, in a program; one if left out.
        out: the program, .pt2, or the folder; RUN/sampler-STEPS.pt2 or RUN/diffusers if left out.
        truncate: for diffusers, hold the clock where the schedule of RUN reaches less far than the linear one.
        grid: times of the steps of a program; uniform, noise-levels as in EDM, or a JSON file with the times.
    """

    to: Literal["program", "diffusers"] = "program"
    steps: int | None = None
    out: str | None = None
    truncate: bool = False
    grid: str = "uniform"


def run(args: Sequence[str]) -> int:
    """Export, and say how far what was written is from the run, and how it is opened."""
    given = parse(Export, args, "export", flags=FLAGS | {"out": Flag(shown="PATH")}, also={"path": "--out"})
    if given.to == "diffusers":
        return _to_diffusers(given)
    if given.truncate:
        raise ValueError("`truncate` must be left out for a program, which keeps the schedule of the run; drop it.")
    source = load(given)
    if source.condition is not None:
        raise ValueError(f"`run` must take no condition to be exported, got {source.folder.path}; sample it instead.")
    grid = grid_of(given.grid, given.steps, source.interpolant)
    path = Path(given.out) if given.out is not None else source.folder.path / f"sampler-{len(grid) - 1}.pt2"
    taken = {"labels": bool(source.classes), **{name: source.X.takes(name) for name in ("guidance", "interval")}}
    exported = told(lambda: export_sampler(source.X, grid, source.event, path, **taken))
    inputs = ", ".join(["x0", *(name.removesuffix("s") for name, own in taken.items() if own)])
    steps = f"{len(grid) - 1} step{'s' * (len(grid) > 2)}"
    to_stdout(f"{exported.path}: ({inputs}) -> x1 in {steps}, {exported.error:.1e} from the sampler")
    to_stdout(f'Load it with flowops.sampling.load_sampler("{exported.path}", sha256="{exported.sha256}")')
    return 0


def _to_diffusers(given: Export) -> int:
    if given.steps is not None or given.grid != "uniform":
        name, value = ("grid", given.grid) if given.steps is None else ("steps", given.steps)
        raise ValueError(f"`{name}` must be left out for diffusers, which is told when it samples, got {value}.")
    source = load(given)
    path = Path(given.out) if given.out is not None else source.folder.path / "diffusers"
    exported = told(lambda: to_diffusers(source, path, truncate=given.truncate))
    to_stdout(f"{exported.path}: a pipeline of diffusers, {exported.error:.1e} from the map")
    labels = ", class_labels=0" if source.classes else ""
    to_stdout(
        f"from flowops.adapters.diffusers import FlowMapPipeline\n"
        f'pipe = FlowMapPipeline.from_pretrained("{exported.path}")\n'
        f"images = pipe(batch_size=16, num_inference_steps=2{labels}).images"
    )
    return 0

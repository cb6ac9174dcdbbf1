"""`flowops export`: the sampler of a run as a program that runs with torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowops.cli.choice import FLAGS, RunChoice, grid_of, load
from flowops.cli.console import to_stdout
from flowops.cli.parsing import parse
from flowops.runs.processes import told
from flowops.sampling import export_sampler


@dataclass(frozen=True)
class Export(RunChoice):
    """Write the sampler of RUN as a program (x0[, label][, guidance][, interval]) -> x1 of torch.export.

    It takes any batch size, and runs on the --device that it was made for.

    It is loaded and compared with the sampler before it takes its place.

    Attributes:
        steps: along the map; one if left out.
        out: the program, .pt2; RUN/sampler-STEPS.pt2 if left out.
        grid: times of the steps; uniform, noise-levels as in EDM, or a JSON file with the times themselves.
    """

    steps: int | None = None
    out: str | None = None
    grid: str = "uniform"


def run(args: Sequence[str]) -> int:
    """Export, and say what the program takes and how far it is from the sampler."""
    given = parse(Export, args, "export", flags=FLAGS, also={"path": "--out"})
    source = load(given)
    grid = grid_of(given.grid, given.steps, source.interpolant)
    path = Path(given.out) if given.out is not None else source.folder.path / f"sampler-{len(grid) - 1}.pt2"
    taken = {"labels": bool(source.classes), **{name: source.X.takes(name) for name in ("guidance", "interval")}}
    exported = told(lambda: export_sampler(source.X, grid, source.event, path, **taken))
    inputs = ", ".join(["x0", *(name.removesuffix("s") for name, own in taken.items() if own)])
    steps = f"{len(grid) - 1} step{'s' * (len(grid) > 2)}"
    to_stdout(f"{exported.path}: ({inputs}) -> x1 in {steps}, {exported.error:.1e} from the sampler")
    to_stdout(f'Load it with flowops.sampling.load_sampler("{exported.path}", sha256="{exported.sha256}")')
    return 0

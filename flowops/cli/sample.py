"""`flowops sample`: pictures of samples, a row for each sampler, all from the same base samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flowops._extras import require
from flowops._files import written
from flowops.cli.console import say
from flowops.cli.parsing import Flag, parse
from flowops.cli.source import FLAGS, Source, grid_of, grids_of, load
from flowops.report import save_comparison, save_pictures
from flowops.report.samplers import Drawn, Noising, Samplers
from flowops.training import Run


@dataclass(frozen=True)
class Sample(Source):
    """Write samples of RUN as a picture: a row for each sampler, all from the same noise.

    With one sampler the picture is a plain grid of all samples, with several the first 64 of each.

    Attributes:
        steps: numbers of steps along the map.
        n: samples of each sampler.
        out: the picture, .png; RUN/samples.png if left out.
        tensor: file for the samples themselves, a tensor for each sampler.
        grid: times of the steps; uniform, noise-levels as in EDM, or a JSON file with the times themselves.
        solver: solvers of the map's own diagonal field to compare with.
        solver_steps: steps of the solvers that have a fixed number of them.
        label: class of all samples; all classes in turn if left out.
        guidance: scale of classifier-free guidance, for a run with labels.
        gamma: share of noise put back after every step, from 0 to 1.
        restart: times U < V of the grid, and how often the map goes from V back to U.
        seed: of the noise.
    """

    steps: tuple[int, ...] = (1, 2, 4)
    n: int = 64
    out: str | None = None
    tensor: str | None = None
    grid: str = "uniform"
    solver: tuple[Literal["dopri5", "heun", "euler", "ddim", "dpm-solver"], ...] = ()
    solver_steps: int = 18
    label: int | None = None
    guidance: float | None = None
    gamma: float | None = None
    restart: tuple[float, float, int] | None = None
    seed: int = 0


def run(args: Sequence[str]) -> int:
    """Sample, and say what was written and what it cost."""
    flags = {**FLAGS, "tensor": Flag(shown="FILE"), "restart": Flag(shown="U V TIMES")}
    given = parse(Sample, args, "sample", flags=flags)
    if given.out is not None and Path(given.out).suffix != ".png":
        raise ValueError(f"`out` must end in .png, got {given.out}; other formats blur small pictures.")
    if given.tensor is not None and Path(given.tensor).suffix != ".safetensors":
        raise ValueError(f"`tensor` must end in .safetensors, got {given.tensor}; rename it.")
    source = load(given)
    rows = {drawn.label: drawn for drawn in _drawn(given, source)}
    out = Path(given.out) if given.out is not None else source.folder.path / "samples.png"
    samples = {label: drawn.x for label, drawn in rows.items()}
    if len(samples) == 1:
        save_pictures(out, next(iter(samples.values())))
    else:
        save_comparison(out, samples)
    if given.tensor is not None:
        _save_tensors(Path(given.tensor), samples)
    for drawn in rows.values():
        say(f"{drawn.sampler:<22}{drawn.calls:>7.4g} calls per sample{drawn.seconds:>9.2f} s")
    say(f"{out}: {given.n} samples of step {source.step}" + (f"; {given.tensor}" if given.tensor else ""))
    return 0


def _drawn(given: Sample, source: Run) -> Iterator[Drawn]:
    """The samples of each sampler, in the order of the rows."""
    samplers = Samplers(source, given.n, given.seed, given.label, given.guidance)
    noising = Noising(given.gamma, given.restart)
    for grid in grids_of(given.grid, given.steps, source.interpolant):
        yield samplers.along_map(grid, noising)
    for method in given.solver:
        yield samplers.along_field(method, grid_of(given.grid, given.solver_steps, source.interpolant))


def _save_tensors(path: Path, samples: dict[str, Tensor]) -> None:
    """All samples in one safetensors file, by the label of their row."""
    with written(path) as temporary:
        tensors = {label: torch.clone(x, memory_format=torch.contiguous_format) for label, x in samples.items()}
        require("safetensors.torch", "train").save_file(tensors, temporary)

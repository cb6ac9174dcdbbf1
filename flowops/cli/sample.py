"""`flowops sample`: pictures of samples, a row for each sampler, all from the same base samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from flowops._files import written
from flowops._named import require
from flowops.cli.choice import FLAGS, NAMED_GRIDS, RunChoice, grid_of, grids_of, load
from flowops.cli.console import to_stderr, to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.pictures import drawable, save_comparison, save_pictures
from flowops.runs import Drawn, Run

STEPS = (1, 2, 4)
SOLVER_STEPS = 18


@dataclass(frozen=True)
class Sample(RunChoice):
    """Write samples of RUN as a picture: a row for each sampler, all from the same noise.

    With one sampler the picture is a plain grid of all samples, with several the first 64 of each.

    Samples that are neither images nor points of the plane go to --tensor only.

    Attributes:
        steps: numbers of steps along the map; 1, 2 and 4 if left out.
        n: samples of each sampler.
        out: the picture, .png; RUN/samples.png if left out.
        tensor: file for the samples themselves, .safetensors or .npz, a tensor for each sampler.
        grid: times of the steps; uniform, noise-levels as in EDM, or a JSON file with the times themselves.
        solver: solvers of the map's own diagonal field to compare with.
        solver_steps: steps of the solvers that have a fixed number of them; 18 if left out.
        label: class of all samples; all classes in turn if left out.
        guidance: scale of classifier-free guidance, for a run with labels.
        gamma: share of noise put back after every step, from 0 to 1.
        restart: times U < V of the grid, and how often the map goes from V back to U.
        seed: seed of the noise.
    """

    steps: tuple[int, ...] | None = None
    n: int = 64
    out: str | None = None
    tensor: str | None = None
    grid: str = "uniform"
    solver: tuple[Literal["dopri5", "heun", "euler", "ddim", "dpm-solver"], ...] = ()
    solver_steps: int | None = None
    label: int | None = None
    guidance: float | None = None
    gamma: float | None = None
    restart: tuple[float, float, int] | None = None
    seed: int = 0


def run(args: Sequence[str]) -> int:
    """Sample, and say what was written and what it cost."""
    shown = {"steps": "[INT ...]", "tensor": "FILE", "restart": "U V TIMES"}
    flags = {**FLAGS, **{name: Flag(shown=value) for name, value in shown.items()}}
    given = parse(Sample, args, "sample", flags=flags)
    if given.out is not None and Path(given.out).suffix != ".png":
        raise ValueError(f"`out` must end in .png, got {given.out}; other formats blur small pictures.")
    if given.tensor is not None and Path(given.tensor).suffix not in (".safetensors", ".npz"):
        raise ValueError(f"`tensor` must end in .safetensors or .npz, got {given.tensor}; rename it.")
    chosen = load(given)
    if not drawable(chosen.event) and given.tensor is None:
        raise ValueError(f"`tensor` must be given for samples of shape {list(chosen.event)}, which make no picture.")
    rows = {drawn.label: drawn for drawn in _drawn(given, chosen)}
    made = [_picture(given, chosen, rows)] if drawable(chosen.event) else []
    if given.tensor is not None:
        _save_tensors(Path(given.tensor), rows)
        made.append(given.tensor)
    for drawn in rows.values():
        to_stdout(f"{drawn.sampler:<22}{drawn.calls:>7.4g} calls per sample{drawn.seconds:>9.2f} s")
    to_stdout(f"{'; '.join(made)}: {given.n} samples of step {chosen.step}")
    return 0


def _drawn(given: Sample, chosen: Run) -> Iterator[Drawn]:
    """The samples of each sampler, in the order of the rows."""
    shared: dict[str, Any] = {"seed": given.seed, "label": given.label, "guidance": given.guidance}
    for grid in grids_of(given.grid, given.steps, STEPS, chosen.interpolant):
        yield chosen.draw(given.n, grid=grid, gamma=given.gamma, restart=given.restart, **shared)
    for method in given.solver:
        steps = given.solver_steps
        if steps is None and given.grid in NAMED_GRIDS:
            steps = SOLVER_STEPS
        grid_ = None if method == "dopri5" else grid_of(given.grid, steps, chosen.interpolant)
        yield chosen.draw(given.n, solver=method, grid=grid_, **shared)


def _picture(given: Sample, chosen: Run, rows: dict[str, Drawn]) -> str:
    """The name of the picture of all rows; those that hold something not finite are left out, and said."""
    out = Path(given.out) if given.out is not None else chosen.folder.path / "samples.png"
    shown: dict[str, Tensor] = {}
    for label, drawn in rows.items():
        x = drawn.x.cpu()
        if len(chosen.event) == 3 and not bool(x.isfinite().all()):
            to_stderr(f"flowops: warning: samples by {label} are not finite and not shown.")
        else:
            shown[label] = x
    if not shown:
        raise ValueError("`run` must give finite samples to be shown, and gives none; look at its loss.")
    if len(rows) == 1:
        save_pictures(out, next(iter(shown.values())))
    else:
        save_comparison(out, shown)
    return str(out)


def _save_tensors(path: Path, rows: dict[str, Drawn]) -> None:
    """All samples in one file, each under the name of its sampler, such as map-4 or heun-18."""
    arrays = {_key(label): drawn.x.cpu().contiguous() for label, drawn in rows.items()}
    with written(path) as temporary:
        if path.suffix == ".npz":
            np.savez(temporary, **{name: x.numpy() for name, x in arrays.items()})  # type: ignore[arg-type]
        else:
            require("safetensors.torch", "train").save_file(arrays, temporary)


def _key(label: str) -> str:
    """`map, 4 steps, 4 calls` as `map-4`."""
    parts = label.split(", ")
    steps = next((part.split()[0] for part in parts if part.endswith(("step", "steps"))), "")
    return parts[0] + (f"-{steps}" if steps else "")

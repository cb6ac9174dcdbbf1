"""`flowops sample`: pictures of samples, a row for each sampler, or all samples of one of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from flowops._files import written
from flowops._named import require
from flowops.cli.choice import FLAGS, NAMED_GRIDS, RunChoice, Sampling, grid_of, grids_of, load
from flowops.cli.console import is_first, to_stderr, to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.data.files.arrays import read_arrays
from flowops.pictures import drawable, is_image, save_comparison, save_pictures, save_table, save_trajectories
from flowops.pictures.drawing import SHOWN
from flowops.runs import Drawn, Run, Written, calibrated, load_noise, write_samples
from flowops.runs.calibrating import FILE as CALIBRATION
from flowops.runs.processes import on_first
from flowops.runs.progress import EVERY
from flowops.runs.views import by_class, ways
from flowops.sampling import Plan, optimal_grids
from flowops.sampling.grids import save_grids

OPTIMAL = "optimal"  # the name of the grids that are measured
PLANNED = "calibrated"  # the name of the steps that are measured to be enough
MEASURED = 64  # samples that they are measured on
STEPS = (1, 2, 4)
CHOSEN = {"show", "out", "seed", "guidance", "interval", *(f.name for f in fields(RunChoice))}
TAKEN = {
    "classes": CHOSEN | {"steps", "solver", "solver_steps"},
    "trajectories": CHOSEN | {"label"},
}  # what these pictures ask for
SOLVER_STEPS = 18


@dataclass(frozen=True)
class Sample(Sampling):
    """Write samples of RUN as a picture, a row for each sampler from the same noise, or all of one.

    A picture .png shows the first 64 images of each sampler, or all points.

    A file .npz holds all samples of one sampler: arr_0, images as bytes, and their labels arr_1.

    A folder gets a PNG file for each number, which torch-fidelity and clean-fid read.

    After an interruption the same command goes on with the pictures that are missing.

    Under torchrun or SLURM the processes share the samples of a file or a folder.

    Attributes:
        show: what the picture shows: samplers, a row each; classes, a row for each of the first ten, by numbers of
            steps and a solver, in RUN/classes.png; or trajectories, of a few samples, in RUN/trajectories.png.
        steps: numbers of steps along the map; 1, 2 and 4 of a picture if left out.
        n: samples of each sampler.
        out: the picture, .png; a file .npz; or a folder, as in samples/; RUN/samples.png if left out.
        tensor: file for the samples themselves, .safetensors or .npz, a tensor for each sampler.
        grid: times of the steps; uniform, noise-levels as in EDM, optimal for those at which the map errs least, which
            are measured and written to RUN/grids.json, calibrated for the fewest that keep a tolerance, which are
            measured and written to RUN/calibration.json, or a JSON file with the times themselves.
        tolerance: of what more steps would change, in place of steps; with calibrated steps, of the distance from the
            map's own flow, for all but a tenth of the samples; that of dopri5 beside it.
        solver: solvers of the map's own diagonal field to compare with, or the one whose samples are written.
        solver_steps: steps of the solvers that have a fixed number of them; 18 if left out.
        label: class of all samples; all classes in turn if left out.
        condition: file with a condition for all samples or one for each, .npy, .npz or .safetensors; those of the data
            in turn if left out.
        guidance: scale of classifier-free guidance, for a run with labels.
        interval: times at which it guides; all times if left out.
        gamma: share of noise put back after every step, from 0 to 1.
        restart: times U < V of the grid, and how often the map goes from V back to U.
        seed: seed of the noise.
        noise: file of flowops invert with the states to start from, and their classes, in place of a seed.
    """

    show: Literal["samplers", "classes", "trajectories"] = "samplers"
    steps: tuple[int, ...] | None = None
    n: int = 64
    out: str | None = None
    tensor: str | None = None
    grid: str = "uniform"
    tolerance: float | None = None
    solver: tuple[Literal["dopri5", "heun", "euler", "ddim", "dpm-solver"], ...] = ()
    solver_steps: int | None = None
    label: int | None = None
    condition: str | None = None
    guidance: float | None = None
    interval: tuple[float, float] | None = None
    gamma: float | None = None
    restart: tuple[float, float, int] | None = None
    seed: int = 0
    noise: str | None = None


def run(args: Sequence[str]) -> int:
    """Sample, and say what was written and what it cost."""
    shown = {
        "steps": "[INT ...]",
        "tensor": "FILE",
        "restart": "U V TIMES",
        "interval": "LOW HIGH",
        "out": "PATH",
        "condition": "FILE",
        "noise": "FILE",
    }
    shown["grid"] = "{uniform,noise-levels,optimal,calibrated,FILE}"
    flags = {**FLAGS, **{name: Flag(shown=value) for name, value in shown.items()}}
    given = parse(Sample, args, "sample", flags=flags, also={"path": "--out", "between": "--restart"})
    picture = _is_picture(given.out)
    if given.tensor is not None and Path(given.tensor).suffix not in (".safetensors", ".npz"):
        raise ValueError(f"`tensor` must end in .safetensors or .npz, got {given.tensor}; rename it.")
    if given.tensor is not None and not picture:
        raise ValueError(f"`tensor` must be left out where `out` takes all samples, got {given.out}; drop one of them.")
    if given.noise is not None and not picture:
        raise ValueError(
            f"`noise` must be left out where `out` takes all samples, got {given.noise}; drop one of them."
        )
    taken = TAKEN.get(given.show)
    for name in () if taken is None else (f.name for f in fields(Sample) if f.name not in taken):
        if (value := getattr(given, name)) != getattr(Sample, name):
            raise ValueError(f"`{name}` must be left out beside show={given.show}, got {value}; drop one of them.")
    if taken is not None and not picture:
        raise ValueError(f"`out` must end in .png beside show={given.show}, got {given.out}; rename it.")
    chosen = load(given)
    if taken is not None:
        if is_first():
            _view(given, chosen)
    elif not picture:
        _write_all(given, chosen)
    elif is_first():
        _show(given, chosen)
    return 0


def _view(given: Sample, chosen: Run) -> None:
    """A picture of the classes or the trajectories."""
    if not drawable(chosen.event):
        raise ValueError(f"`run` must have samples that make a picture, got shape {list(chosen.event)}; drop show.")
    out = Path(given.out) if given.out is not None else chosen.folder.path / f"{given.show}.png"
    guided: dict[str, Any] = {"guidance": given.guidance, "interval": given.interval}
    if given.show == "classes":
        solver = given.solver[0] if given.solver else "dopri5"
        count = None if solver == "dopri5" else given.solver_steps or SOLVER_STEPS
        save_table(out, by_class(chosen, given.steps or STEPS, solver, solver_steps=count, seed=given.seed, **guided))
    else:
        save_trajectories(out, *ways(chosen, label=given.label, seed=given.seed, **guided))
    to_stdout(f"{out}: {given.show} of step {chosen.step}")


def _is_picture(out: str | None) -> bool:
    """Whether samples are shown; otherwise all of them are written."""
    suffix = ".png" if out is None else Path(out).suffix
    folder = out is not None and (out.endswith("/") or Path(out).is_dir() or not suffix)
    if folder == (suffix in (".png", ".npz")):
        raise ValueError(f"`out` must end in .png or .npz, or be a folder as in samples/, got {out}; rename it.")
    return suffix == ".png"


def _ways(given: Sample, chosen: Run, steps: Sequence[int]) -> list[dict[str, Any]]:
    """The samplers in the order of the rows, as arguments of `Run.draw`; `steps` along the map where none are given."""
    ways: list[dict[str, Any]] = []
    chosen_by = given.tolerance if not given.solver else None
    filed = given.grid not in (*NAMED_GRIDS, OPTIMAL, PLANNED)
    mapped = bool(given.steps is not None or steps or (filed and not given.solver) or chosen_by is not None)
    _check_used(given, mapped)
    if mapped:
        noised = {"gamma": given.gamma, "restart": given.restart}
        if given.grid == PLANNED:
            ways.append({"plan": _plan(given, chosen), **noised})
        elif chosen_by is not None:
            ways.append({"tolerance": chosen_by, **noised})
        else:
            ways += [{"grid": grid, **noised} for grid in _times(given, chosen, steps)]
    for method in given.solver:
        count = given.solver_steps
        if count is None and given.grid in NAMED_GRIDS:
            count = SOLVER_STEPS
        grid_ = None if method == "dopri5" else grid_of(given.grid, count, chosen.interpolant, "solver_steps")
        ways.append({"solver": method, "grid": grid_, "tolerance": given.tolerance if method == "dopri5" else None})
    shared = {name: getattr(given, name) for name in ("seed", "label", "guidance", "interval", "chunk")}
    shared["condition"] = None if given.condition is None else _condition(given.condition)
    return [{**way, **shared} for way in ways]


def _condition(path: str) -> Tensor:
    """The only array of a file, or that of the name `condition`."""
    path_, found = read_arrays(path, "a file of conditions", "condition")
    if "condition" not in found and len(found) != 1:
        raise ValueError(
            f"`condition` must be a file of one array, or with one called condition, got {', '.join(found) or 'none'} "
            f"in {path_}; rename it."
        )
    return found["condition"] if "condition" in found else next(iter(found.values()))


def _times(given: Sample, chosen: Run, steps: Sequence[int]) -> list[list[float]]:
    """The grids of the rows of the map; the optimal ones are measured on some of its samples, and written down."""
    if given.grid != OPTIMAL:
        return grids_of(given.grid, given.steps, steps, chosen.interpolant)
    counts = steps if given.steps is None else given.steps
    conditioning = chosen.conditioning(MEASURED, given.label, given.guidance, given.interval)
    found = optimal_grids(conditioning.map(), chosen.base(MEASURED, seed=given.seed), counts)
    path = chosen.folder.path / "grids.json"
    on_first(lambda: save_grids(path, found))
    to_stderr(f"{path}: grids of {', '.join(map(str, counts))} steps, measured on {MEASURED} samples")
    return [found[k] for k in counts]


def _plan(given: Sample, chosen: Run) -> Plan:
    """The fewest steps that keep the tolerance, by what was measured on other samples."""
    assert given.tolerance is not None
    found = calibrated(
        chosen, label=given.label, guidance=given.guidance, interval=given.interval, chunk=given.chunk
    ).plan(given.tolerance)
    to_stderr(f"{found} keep {given.tolerance:g} for all but a tenth of the samples, by {CALIBRATION} of {given.run}")
    return found


def _check_used(given: Sample, mapped: bool) -> None:
    """Refuse what no sampler takes: noise on the way without the map, steps and their times without a solver of any."""
    stepped = bool(set(given.solver) - {"dopri5"})
    if given.tolerance is not None and not given.solver:
        for name in ("steps", "grid"):
            if getattr(given, name) not in (getattr(Sample, name), PLANNED):
                raise ValueError(
                    f"`tolerance` and `{name}` must not be given together, since a tolerance chooses the steps; drop "
                    f"one of them."
                )
    if (given.grid == OPTIMAL and stepped) or (given.grid == PLANNED and given.solver):
        raise ValueError(
            f"`grid` must not be {given.grid} beside a solver, since it is that of the map; drop one of them."
        )
    if given.grid == PLANNED and given.tolerance is None:
        raise ValueError("`tolerance` must be given for calibrated steps, which keep it; pass tolerance=0.03, say.")
    if given.grid == PLANNED and given.condition is not None:
        raise ValueError("`condition` must be left out for calibrated steps, which are those of the data; drop it.")
    timed = mapped or stepped or not given.solver
    for name, taken, sampler in (
        ("gamma", mapped, "steps=4"),
        ("restart", mapped, "steps=4"),
        ("solver_steps", stepped, "solver=heun"),
        ("grid", timed, "solver=heun"),
        ("tolerance", not given.solver or "dopri5" in given.solver, "solver=dopri5"),
    ):
        if not taken and (value := getattr(given, name)) != getattr(Sample, name):
            raise ValueError(
                f"`{name}` must be left out where no sampler takes it, got {value}; drop it, or sample by {sampler}."
            )


def _show(given: Sample, chosen: Run) -> None:
    """Samples of all samplers in one picture, and in a file of tensors if that is asked for."""
    if not drawable(chosen.event) and given.tensor is None:
        raise ValueError(
            f"`tensor` must be given for samples of shape {list(chosen.event)}, which make no picture, or `out` end in "
            f".npz; pass one of them."
        )
    start = _start(given)
    given = replace(given, n=len(start["x0"])) if start else given
    ways = ({**way, **start} for way in _ways(given, chosen, STEPS))
    rows = {drawn.label: drawn for drawn in (chosen.draw(given.n, **way) for way in ways)}
    made = [_picture(given, chosen, rows)] if drawable(chosen.event) else []
    if given.tensor is not None:
        _save_tensors(Path(given.tensor), {label: chosen.restored(drawn.x) for label, drawn in rows.items()})
        made.append(given.tensor)
    for drawn in rows.values():
        to_stdout(_cost(drawn))
    to_stdout(f"{'; '.join(made)}: {given.n} samples of step {chosen.step}")


def _start(given: Sample) -> dict[str, Tensor]:
    """The states to start from, with their classes unless one is given for all, as arguments of `Run.draw`."""
    if given.noise is None:
        return {}
    for name in ("n", "seed"):
        if (value := getattr(given, name)) != getattr(Sample, name):
            raise ValueError(f"`{name}` must be left out beside a file of noise, got {value}; drop it.")
    x0, labels = load_noise(given.noise)
    return {"x0": x0} if labels is None or given.label is not None else {"x0": x0, "label": labels}


def _write_all(given: Sample, chosen: Run) -> None:
    """All samples of one sampler in a file or a folder."""
    out, ways = str(given.out), _ways(given, chosen, ())
    if len(ways) != 1:
        raise ValueError(f"`steps` and `solver` must name one sampler for {out}, got {len(ways)}; pass steps=4, say.")
    shown = time.monotonic()

    def report(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > EVERY:
            shown = time.monotonic()
            to_stderr(f"{out}: {done} of {given.n} samples")

    try:
        done = write_samples(chosen, out, given.n, report=report, **ways[0])
    except (KeyboardInterrupt, OSError):
        if Path(out).is_dir():
            held = sum(1 for _ in Path(out).glob("[0-9]*.png"))
            to_stderr(f"{out} holds {held} of {given.n} pictures; the same command goes on with the others.")
        raise
    if done.drawn:
        to_stdout(_cost(done))
    there = f", {given.n - done.drawn} of them there before" if done.drawn < given.n else ""
    to_stdout(f"{out}: {given.n} samples of step {chosen.step}{there}")


def _cost(made: Drawn | Written) -> str:
    return f"{made.sampler:<22}{made.calls:>7.4g} calls per sample{made.seconds:>9.2f} s"


def _picture(given: Sample, chosen: Run, rows: dict[str, Drawn]) -> str:
    """The picture of all rows, and of how many; those that hold something not finite are left out, and said."""
    out = Path(given.out) if given.out is not None else chosen.folder.path / "samples.png"
    images, shown = is_image(chosen.event), dict[str, Tensor]()
    for label, drawn in rows.items():
        x = drawn.x[:SHOWN].cpu() if images else drawn.x.cpu()
        if images and not bool(x.isfinite().all()):
            to_stderr(f"flowops: warning: samples by {label} are not finite and not shown.")
        else:
            shown[label] = x
    if not shown:
        raise ValueError("`run` must give finite samples to be shown, and gives none; look at its loss.")
    if len(rows) == 1:
        save_pictures(out, next(iter(shown.values())))
    else:
        save_comparison(out, shown)
    return f"{out}, the first {SHOWN} of each" if images and given.n > SHOWN else str(out)


def _save_tensors(path: Path, rows: dict[str, Tensor]) -> None:
    """All samples in one file, each under the name of its sampler, such as map-4 or heun-18."""
    arrays = {_key(label): x.cpu().contiguous() for label, x in rows.items()}
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

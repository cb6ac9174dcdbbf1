"""`flowops invert`: pictures to noise and back, edited by their class, and what lies between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flowops._files import write_text
from flowops.cli.choice import FLAGS as RUN_FLAGS
from flowops.cli.choice import NAMED_GRIDS, Sampling, grid_of, grids_of, load
from flowops.cli.console import is_first, to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.evaluation.inversion import (
    Inversion,
    Originals,
    edited,
    held_out,
    interpolated,
    inversion,
    read_pictures,
)
from flowops.evaluation.report.folder import prepared
from flowops.pictures import drawable, is_image, save_comparison, save_pictures
from flowops.runs import Run, save_noise

STEPS = (1, 2, 4)
SOLVER_STEPS = 18
N = 8


@dataclass(frozen=True)
class Invert(Sampling):
    """Carry pictures to noise and back by RUN, and say how far they are from where they began.

    Without PICTURES they are data that were held out.

    A folder gets the errors as a table, the noise, and rows of pictures.

    flowops sample RUN --noise FOLDER/noise.safetensors goes on from there.

    Attributes:
        pictures: folder or archive of pictures, in folders named as the classes, or all of --class.
        steps: numbers of steps along the map, back and forth; 1, 2 and 4 if it was trained backward.
        solver: a solver of the map's own diagonal field, which goes back whatever was trained.
        solver_steps: steps of heun and euler; 18 if left out.
        grid: times of the steps, taken backward; uniform, noise-levels as in EDM, or a JSON file with the times.
        tolerance: of dopri5.
        n: how many pictures; 8 held-out ones or all of PICTURES if left out.
        label: class of the pictures; of held-out data only those of this class are taken.
        split: split of the data of the run; test where there is one.
        guidance: scale of classifier-free guidance on both ways, for a run with labels.
        interval: times at which it guides; all times if left out.
        to_class: classes that the pictures are edited to.
        all_classes: edit to every class.
        interpolate: pictures between each two neighbours.
        seed: which data.
        out: the folder; RUN/inversion if left out.
    """

    pictures: str | None = None
    steps: tuple[int, ...] | None = None
    solver: Literal["dopri5", "heun", "euler"] | None = None
    solver_steps: int | None = None
    grid: str = "uniform"
    tolerance: float | None = None
    n: int | None = None
    label: int | None = None
    split: str | None = None
    guidance: float | None = None
    interval: tuple[float, float] | None = None
    to_class: tuple[int, ...] = ()
    all_classes: bool = False
    interpolate: bool = False
    seed: int = 0
    out: str | None = None


FLAGS = {**RUN_FLAGS, "pictures": Flag(positional=True), "steps": Flag(shown="[INT ...]")}
FLAGS |= {"interval": Flag(shown="LOW HIGH"), "to_class": Flag(shown="INT [INT ...]"), "out": Flag(shown="FOLDER")}


def run(args: Sequence[str]) -> int:
    """Invert, write the folder, print the table."""
    given = parse(Invert, args, "invert", flags=FLAGS, also={"path": "PICTURES"})
    _check_used(given)
    chosen = load(given)
    if is_first():
        _write(given, chosen)
    return 0


def _check_used(given: Invert) -> None:
    """Refuse what no way takes, and what says the same twice."""
    if given.to_class and given.all_classes:
        raise ValueError("`to_class` and `all_classes` must not be given together; drop one of them.")
    for name, taken, with_ in (
        ("solver_steps", given.solver in ("heun", "euler"), "solver=heun"),
        ("tolerance", given.solver == "dopri5", "solver=dopri5"),
        ("split", given.pictures is None, "data of the run"),
    ):
        if not taken and (value := getattr(given, name)) is not None:
            raise ValueError(f"`{name}` must be given with {with_} only, got {value}; drop it.")


def _write(given: Invert, chosen: Run) -> None:
    labels = _classes(given, chosen)
    originals = _originals(given, chosen)
    shared = {"guidance": given.guidance, "interval": given.interval, "chunk": given.chunk}
    out = Path(given.out) if given.out is not None else chosen.folder.path / "inversion"
    with prepared(out) as folder:
        found = inversion(chosen, originals, _along_map(given, chosen), _by_solver(given, chosen), **shared)
        _save(folder, found)
        if labels:
            save_comparison(folder / "edits.png", edited(chosen, found, labels, **shared))
        if given.interpolate:
            _save_between(folder, chosen, found, shared)
        written = ", ".join(sorted(file.name for file in folder.iterdir()))
    to_stdout(found.markdown())
    to_stdout(f"\n{out}: {written}; noise, edits and interpolations by {found.best.label}")


def _classes(given: Invert, chosen: Run) -> list[int]:
    """The classes to edit to, known before anything is computed."""
    if not given.to_class and not given.all_classes:
        return []
    if not chosen.classes:
        raise ValueError(
            f"`{'all_classes' if given.all_classes else 'to_class'}` must be left out for {chosen.folder.path}, which "
            f"was trained without labels; drop it."
        )
    wanted = list(given.to_class or range(len(chosen.classes)))
    for label in wanted:
        if not 0 <= label < len(chosen.classes):
            raise ValueError(
                f"`to_class` must hold classes between 0 and {len(chosen.classes) - 1}, got {label}; pass one of them."
            )
    return wanted


def _originals(given: Invert, chosen: Run) -> Originals:
    if given.pictures is not None:
        return read_pictures(chosen, given.pictures, given.n, label=given.label)
    n = N if given.n is None else given.n
    return held_out(chosen, n, label=given.label, split=given.split, seed=given.seed)


def _along_map(given: Invert, chosen: Run) -> list[dict[str, Any]]:
    """The grids along the map; beside a solver only those that are asked for."""
    if given.solver is not None and given.steps is None and given.grid in NAMED_GRIDS:
        return []
    return [{"grid": grid} for grid in grids_of(given.grid, given.steps, STEPS, chosen.interpolant)]


def _by_solver(given: Invert, chosen: Run) -> dict[str, Any] | None:
    if given.solver is None:
        return None
    if given.solver == "dopri5":
        return {"solver": "dopri5", "tolerance": given.tolerance}
    kind = given.grid if given.grid in NAMED_GRIDS else "uniform"
    steps = SOLVER_STEPS if given.solver_steps is None else given.solver_steps
    return {"solver": given.solver, "grid": grid_of(kind, steps, chosen.interpolant, "solver_steps")}


def _save(folder: Path, found: Inversion) -> None:
    save_noise(folder / "noise.safetensors", found.best.found.x0, found.originals.labels)
    write_text(folder / "errors.md", found.markdown() + "\n")
    write_text(folder / "errors.json", json.dumps(found.record(), indent=1) + "\n")
    if drawable(found.originals.x1.shape[1:]):
        save_comparison(folder / "pictures.png", found.pictures())


def _save_between(folder: Path, chosen: Run, found: Inversion, shared: dict[str, Any]) -> None:
    """A row for each pair of images, one panel for points."""
    between = interpolated(chosen, found, **shared)
    if drawable(chosen.event):
        columns = between.shape[1] if is_image(chosen.event) else None
        save_pictures(folder / "interpolation.png", between.flatten(0, 1), columns=columns)

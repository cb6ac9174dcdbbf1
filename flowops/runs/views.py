"""What of a run is worth a picture: its classes by the number of steps, and the way of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops.pictures import save_table, save_trajectories
from flowops.runs.run import Run

CLASSES = 10  # rows, the first ones
EACH, POINTS = 4, 512  # images of a class, or points
WAYS, TIMES = 8, 9  # images whose way is shown, and at how many times


def by_class(
    run: Run,
    steps: Sequence[int] = (1, 2, 4),
    solver: str | None = "dopri5",
    *,
    solver_steps: int | None = None,
    n: int | None = None,
    seed: int = 0,
    **guided: Any,
) -> dict[str, dict[str, Tensor]]:
    """Samples of each class by the number of steps, from the same noise in every cell.

    Args:
        run: a run; one without labels has a single row.
        steps: of the map, a column each.
        solver: of the map's own field, in the last column; None for none.
        solver_steps: its steps; None for dopri5.
        n: samples in a cell; 4 images, 512 points.
        seed: seed of the noise.
        **guided: `guidance` and `interval` as of `Run.sample`.

    Returns:
        For the name of a class and the name of a column samples `[n, *event]`; the first ten classes.
    """
    n = n or (EACH if len(run.event) == 3 else POINTS)
    names = run.classes[:CLASSES] or ("all",)
    x0 = run.base(n, seed=seed).repeat(len(names), *[1] * len(run.event))
    given: dict[str, Any] = {"x0": x0, "seed": seed, **guided}
    if run.classes:
        given["label"] = torch.arange(len(names)).repeat_interleave(n)
    columns = {f"{k} step{'s' * (k > 1)}": run.draw(steps=k, **given).x for k in steps}
    if solver is not None:
        columns[solver] = run.draw(solver=solver, steps=solver_steps, **given).x
    return {name: {label: x[k * n : (k + 1) * n].cpu() for label, x in columns.items()} for k, name in enumerate(names)}


def ways(run: Run, n: int | None = None, *, seed: int = 0, **conditions: Any) -> tuple[list[float], Tensor]:
    r"""$X_{0,t}(x_0)$ of some samples at times from 0 to 1, one step each: the curves that the map says are solutions.

    Args:
        run: a run.
        n: samples; 8 images, 512 points. Classes come in turn.
        seed: seed of the noise.
        **conditions: `label`, `guidance` and `interval` as of `Run.sample`.

    Returns:
        The times and the states, `[len(times), n, *event]`.

    Cost: one call of the map for each of the nine times.
    """
    n = n or (WAYS if len(run.event) == 3 else POINTS)
    times = [k / (TIMES - 1) for k in range(TIMES)]
    with torch.no_grad():
        x = run.conditioning(n, **conditions).map().path(0.0, times, run.base(n, seed=seed))
    return times, x.cpu()


def save_view(path: Path, run: Run, view: str, *, seed: int = 0) -> None:
    """Draw `classes` or `trajectories` of a run."""
    if view == "classes":
        save_table(path, by_class(run, seed=seed))
    else:
        save_trajectories(path, *ways(run, seed=seed))

"""True trajectories, and the states that a map reaches in a few steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Section
from flowops.evaluation.report.plane import Plane, flat

SHOWN, TIMES = 12, 48
STEPS = (1, 4)


@torch.no_grad()
def trajectory_section(observed: Observed) -> Section:
    """Solutions of the field as lines, steps of the map as dots, from the same states; a figure for each number.

    States of one number are shown over time, points of the plane as they are, others in the plane in which the true
    trajectories spread most.
    """
    few = observed.first(SHOWN)
    times = few.times(TIMES)
    true = flat(few.truth().path(few.horizon[0], times, few.x), 2)
    stops = {} if few.solved else {k: few.times(k) for k in STEPS}
    reached = {k: flat(few.X.compose(grid, few.x, trajectory=True), 2) for k, grid in stops.items()}
    if true.shape[-1] == 1:
        names, lines = ("t", "x"), _over_time(times, true)
        dots = {k: _over_time(stops[k], states) for k, states in reached.items()}
    else:
        plane = Plane.of(true)
        names, lines = plane.names, plane(true)
        dots = {k: plane(states) for k, states in reached.items()}
    corners = _corners([lines, *dots.values()])
    figures = []
    for k, points in dots.items() or {0: lines[:0]}.items():
        curves = [_curve("solutions of the field", lines, "line", 5), _curve("", lines[-1:], "dots", 5)]
        label, steps = (f"map, {k} steps", f"{k} steps of the map take") if k > 1 else ("map, 1 step", "one step takes")
        curves += [_curve(label, points, "trail", 1)] if k else []
        drawing = chart(curves, names, f"trajectories, {label}", square=names[0] != "t", also=corners)
        told = f"{len(few.x)} solutions" + (f", and where {steps} the same states." if k else ".")
        data = {"times": times.tolist(), "solutions": lines.tolist(), "map": points.tolist()}
        figures.append(Figure(told, drawing, data))
    return Section("Trajectories", figures)


def _over_time(times: Tensor, states: Tensor) -> Tensor:
    """Points (t, x) of states `[k, n, 1]`."""
    return torch.cat([times.double().cpu()[:, None, None].expand_as(states), states], -1)


def _corners(points: Sequence[Tensor]) -> tuple[tuple[float, float], ...]:
    """Two corners of a box around all points `[..., 2]` that are finite."""
    every = torch.cat([one.reshape(-1, 2) for one in points])
    every = every[every.isfinite().all(1)]
    return tuple((float(x), float(y)) for x, y in (every.amin(0), every.amax(0))) if len(every) else ()


def _curve(label: str, points: Tensor, style: str, colour: int) -> Curve:
    """Points `[k, n, 2]` as one curve, a line for each sample."""
    x, y = (torch.nn.functional.pad(points[..., i].mT, (0, 1), value=math.nan).reshape(-1).tolist() for i in (0, 1))
    return Curve(label, x, y, style, colour)

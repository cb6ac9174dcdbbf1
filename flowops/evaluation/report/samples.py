"""Samples of a map by its number of steps, beside those of a solver and the data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Section
from flowops.evaluation.report.picture import picture
from flowops.evaluation.report.plane import Plane, flat
from flowops.pictures import is_image

STEPS = (1, 2, 4, 8)
POINTS, IMAGES = 500, 12


@torch.no_grad()
def sample_section(observed: Observed) -> Section:
    """Where the states at the first time are at the last: by one step of the map, by more, by a solver; and data."""
    images = is_image(observed.event)
    few = observed.first(IMAGES if images else POINTS)
    found: dict[str, Tensor] = {}
    for k in STEPS if not few.solved else ():
        found[f"map, {k} step{'s' * (k > 1)}"] = few.X.compose(few.times(k), few.x)
    found["solver of the field"] = few.truth()(*few.horizon, few.x)
    if observed.data is not None:
        found["data"] = observed.data[: len(few.x)]
    figures = _pictures(found) if images else _points(found)
    return Section("Samples by number of steps", figures)


def _pictures(found: Mapping[str, Tensor]) -> tuple[Figure, ...]:
    return tuple(Figure(label, picture(x, label), {}, wide=True) for label, x in found.items())


def _points(found: Mapping[str, Tensor]) -> tuple[Figure, ...]:
    """Points of the plane, each set beside the solver's; states of one number as their distribution."""
    shown = {label: flat(x, 1) for label, x in found.items()}
    if next(iter(shown.values())).shape[-1] == 1:
        curves = [_distribution(label, x[:, 0]) for label, x in shown.items()]
        told = "Distributions at the last time."
        return (Figure(told, chart(curves, ("x", "share below"), told), {k: v.tolist() for k, v in shown.items()}),)
    plane = Plane.of(shown["solver of the field"])
    whole = torch.cat([plane(x) for x in shown.values()])
    low, high = (whole[whole.isfinite().all(1)].quantile(q, 0).tolist() for q in (0.0, 1.0))
    corners = ((low[0], low[1]), (high[0], high[1]))  # so that all have the same axes
    figures = []
    for label, x in shown.items():
        points = plane(x)
        curve = Curve(label, points[:, 0].tolist(), points[:, 1].tolist(), "dots", 0)
        drawing = chart([curve], plane.names, f"samples, {label}", square=True, also=corners)
        figures.append(Figure(label, drawing, {"points": points.tolist()}))
    return tuple(figures)


def _distribution(label: str, x: Tensor) -> Curve:
    ordered = x[x.isfinite()].sort().values
    return Curve(label, ordered.tolist(), ((torch.arange(len(ordered)) + 0.5) / max(1, len(ordered))).tolist())

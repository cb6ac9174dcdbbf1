"""Particles as a figure: where they start, where the map carries them, where they truly go, and the way of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from flowops._named import require
from flowops.evaluation.explore.canvas import COLOURS, MARKED, NEUTRAL, new_figure
from flowops.evaluation.explore.view import Scene, View, Way


class Particles:
    """The figure, and what it is filled with.

    Args:
        view: whose axes it has.
        pointed: is told where the pointer rests.
    """

    def __init__(self, view: View, pointed: Callable[[float, float], None]) -> None:
        models, events = require("bokeh.models", "explore"), require("bokeh.events", "explore")

        def empty() -> Any:
            return models.ColumnDataSource(data={"x": [], "y": [], "colour": []})

        self.points = {name: empty() for name in ("start", "mapped", "true")}
        self.errors, self.way = empty(), {name: empty() for name in ("true", "curve", "stops")}
        self.figure = new_figure("particles", "pan,wheel_zoom,box_zoom,reset,save", 1.0)
        self.axes(view)
        self._draw()
        self.figure.on_event(events.MouseMove, lambda event: pointed(event.x, event.y))
        self.figure.on_event(events.Tap, lambda event: pointed(event.x, event.y))  # of a finger, which does not hover

    def axes(self, view: View) -> None:
        """Axes around all solutions of a view."""
        (left, low), (right, high) = view.frame
        self.figure.x_range.update(start=left, end=right)
        self.figure.y_range.update(start=low, end=high)
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = view.plane.names

    def show(self, scene: Scene) -> None:
        """Fill in the particles."""
        colours = [COLOURS[int(group) % len(COLOURS)] for group in scene.group]
        for name, points in (("start", scene.start), ("mapped", scene.mapped), ("true", scene.true)):
            self.points[name].data = {"x": points[:, 0].numpy(), "y": points[:, 1].numpy(), "colour": colours}
        ends = torch.stack([scene.mapped, scene.true, torch.full_like(scene.true, math.nan)], 1).reshape(-1, 2)
        self.errors.data = _columns(ends)

    def trace(self, way: Way | None) -> None:
        """Fill in the way of one particle, or none."""
        parts = {} if way is None else {"true": way.true, "curve": way.curve, "stops": way.stops}
        for name, source in self.way.items():
            source.data = _columns(parts.get(name, torch.zeros(0, 2)))

    def _draw(self) -> None:
        figure, points = self.figure, self.points
        figure.line("x", "y", source=self.errors, color=NEUTRAL, line_alpha=0.7, legend_label="error")
        figure.scatter(
            "x", "y", source=points["start"], size=3, color=NEUTRAL, alpha=0.45, legend_label="at time s",
        )  # fmt: skip
        figure.scatter(
            "x", "y", source=points["true"], size=7, fill_alpha=0, line_color="colour", line_alpha=0.75,
            legend_label="true flow at t",
        )  # fmt: skip
        figure.scatter(
            "x", "y", source=points["mapped"], size=4.5, color="colour", line_alpha=0, legend_label="map at t",
        )  # fmt: skip
        figure.line("x", "y", source=self.way["true"], line_width=2.5, color=NEUTRAL)
        figure.line("x", "y", source=self.way["curve"], line_width=2.5, line_dash="dashed", color=MARKED)
        figure.scatter("x", "y", source=self.way["stops"], size=9, color=MARKED, marker="diamond")
        legend = figure.legend[0]
        figure.add_layout(legend, "above")
        legend.update(orientation="horizontal", click_policy="hide", padding=2, spacing=12, margin=0, ncols="auto")
        legend.update(background_fill_alpha=0, border_line_alpha=0, label_text_color=NEUTRAL)


def _columns(points: torch.Tensor) -> dict[str, Any]:
    return {"x": points[:, 0].numpy(), "y": points[:, 1].numpy()}

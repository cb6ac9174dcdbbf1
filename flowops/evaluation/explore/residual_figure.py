"""A residual over all pairs of times as a figure: its value under the pointer, and a click that chooses the pair."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from flowops._named import require
from flowops.evaluation.explore.canvas import MARKED, NEUTRAL, new_figure
from flowops.evaluation.report.heat_map import colour_scale, shade
from flowops.evaluation.report.residual_maps import ResidualMap

_ROOM, _OVERLAP = 0.025, 1.02  # for the mark at an end; of neighbouring cells, between which nothing shows through


class ResidualFigure:
    """The figure, and what it is filled with.

    Args:
        chosen: is told the pair (s, t) that is clicked.
    """

    def __init__(self, chosen: Callable[[float, float], None]) -> None:
        models, events = require("bokeh.models", "explore"), require("bokeh.events", "explore")
        self.cells = models.ColumnDataSource(data={name: [] for name in ("s", "t", "value", "side", "told")})
        self.mark = models.ColumnDataSource(data={"s": [0.0], "t": [1.0]})
        self.colours = models.LogColorMapper(palette=[shade(k / 255) for k in range(256)], low=1e-3, high=1.0)
        self.figure = new_figure("residual", "save", 1.1, x_axis_label="s", y_axis_label="t")
        cells = self.figure.rect(
            "s", "t", "side", "side", source=self.cells, line_alpha=0,
            fill_color={"field": "value", "transform": self.colours},
        )  # fmt: skip
        self.figure.scatter(
            "s", "t", source=self.mark, size=14, marker="circle_cross", fill_alpha=0, line_color=MARKED,
            line_width=2.5,
        )  # fmt: skip
        tips = [("s", "@s{0.000}"), ("t", "@t{0.000}"), ("residual", "@told")]
        self.figure.add_tools(models.HoverTool(renderers=[cells], tooltips=tips))
        bar = models.ColorBar(color_mapper=self.colours, width=12, padding=6, label_standoff=6)
        bar.update(background_fill_alpha=0, major_label_text_color=NEUTRAL)
        bar.formatter = models.PrintfTickFormatter(format="%.2g")
        self.figure.add_layout(bar, "right")
        self.figure.on_event(events.Tap, lambda event: chosen(event.x, event.y))

    def show(self, found: ResidualMap, name: str) -> None:
        """Fill in the residual of that name."""
        edges, values = np.array(found.edges), found.values[name].numpy()
        middles, side = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
        s, t = (grid.ravel() for grid in np.meshgrid(middles, middles, indexing="ij"))
        there = np.isfinite(values.ravel())
        s, t, value = s[there], t[there], values.ravel()[there]
        scale = colour_scale(value.tolist())
        self.colours.update(low=scale.low, high=scale.high)
        self.cells.data = {
            "s": s, "t": t, "value": np.maximum(value, scale.low), "side": np.full(len(s), _OVERLAP * side),
            "told": [f"{v:.3g}" for v in value],
        }  # fmt: skip
        for axis in (self.figure.x_range, self.figure.y_range):
            room = _ROOM * (edges[-1] - edges[0])
            axis.update(start=float(edges[0] - room), end=float(edges[-1] + room))

    def point(self, s: float, t: float) -> None:
        """Mark the pair that is chosen."""
        if math.isfinite(s + t):
            self.mark.data = {"s": [s], "t": [t]}

"""What the figures of the page share: a plain one, and colours that are read on a white and on a dark paper."""

from __future__ import annotations

from typing import Any

from flowops._named import require

COLOURS = ("#3182ce", "#dd6b20", "#2f9e5b", "#9f5fe0", "#c39a1b", "#d6457f", "#12a3a8", "#8a6d5a", "#7d8799", "#6fae1f")
"""Of classes, in turn."""
NEUTRAL, MARKED = "#7a8591", "#e5484d"
"""Of what stands back, and of what is pointed at."""


def new_figure(name: str, tools: str, aspect: float, **more: Any) -> Any:
    """A figure as wide as its column, whose axes stay where they are put.

    Args:
        name: by which the page finds it.
        tools: those of its toolbar.
        aspect: width over height.
        **more: further settings of bokeh.
    """
    models = require("bokeh.models", "explore")
    figure = require("bokeh.plotting", "explore").figure(
        name=name, tools=tools, aspect_ratio=aspect, x_range=models.Range1d(0, 1), y_range=models.Range1d(0, 1),
        sizing_mode="stretch_width", min_width=280, toolbar_location="above", outline_line_color=None, **more,
    )  # fmt: skip
    figure.toolbar.logo = None
    return figure

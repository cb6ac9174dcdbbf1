"""Images in rows as a figure: at time s, by the map in several numbers of steps, and by its own field."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from flowops._named import require
from flowops.evaluation.explore.canvas import new_figure
from flowops.pictures import image_grid


class Samples:
    """The figure, and what it is filled with."""

    def __init__(self) -> None:
        source = require("bokeh.models", "explore").ColumnDataSource
        self.source = source(data={"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.figure = new_figure("particles", "pan,wheel_zoom,reset,save", 1.2)
        self.figure.image_rgba("image", "x", "y", "dw", "dh", source=self.source)
        self.figure.grid.visible = self.figure.xaxis.visible = False
        self.figure.yaxis.update(axis_line_alpha=0, major_tick_line_alpha=0, minor_tick_line_alpha=0)

    def show(self, rows: Mapping[str, Tensor]) -> None:
        """Fill in the images, one row for each label."""
        columns = max(map(len, rows.values()))
        pictures = [_rgba(x, columns) for x in rows.values()]
        n = len(pictures)
        wide = pictures[0].shape[1] / pictures[0].shape[0]
        self.source.data = {
            "image": pictures, "x": [0.0] * n, "y": [n - 1.0 - k for k in range(n)], "dw": [wide] * n, "dh": [1.0] * n,
        }  # fmt: skip
        self.figure.x_range.update(start=0, end=wide)
        self.figure.y_range.update(start=0, end=n)
        self.figure.yaxis.update(
            ticker=[k + 0.5 for k in range(n)],
            major_label_overrides={n - 0.5 - k: label for k, label in enumerate(rows)},
        )
        self.figure.aspect_ratio = (wide + 1.2) / n


def _rgba(x: Tensor, columns: int) -> np.ndarray:
    """Images as one array of colours, from the bottom up; what is not finite is grey."""
    grid = image_grid(x.detach().cpu().nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0), columns)
    whole = np.dstack([grid, np.full(grid.shape[:2], 255, np.uint8)])
    return np.ascontiguousarray(whole[::-1]).view(np.uint32)[..., 0]

"""Figures of matplotlib that belong to no window and no global state, in files that are whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowops._extras import require
from flowops._files import written


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that size in inches.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    figure = require("matplotlib.figure", "plots").Figure(figsize=(width, height), layout="constrained")
    require("matplotlib.backends.backend_agg", "plots").FigureCanvasAgg(figure)
    return figure


def save_figure(path: Path | str, figure: Any, *, dpi: int = 150) -> None:
    """Write a figure; the suffix of the path decides the format."""
    with written(path) as temporary:
        figure.savefig(temporary, dpi=dpi)

"""The figure of a comparison: the distance by number of calls, a curve a row, small panels by family where many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowops.comparison.row import Row
from flowops.pictures.drawing import new_figure, save_figure

TOGETHER = 8  # rows that one panel holds
ACROSS = 3  # panels side by side
FAINT = "#c8c8c8"


def save_figure_of(path: Path, rows: Sequence[Row], steps: Sequence[int], distance: str, data: float) -> None:
    """Draw it into a file; the suffix of the path decides the format.

    Args:
        path: of the file.
        rows: the curves.
        steps: their places.
        distance: what their heights are.
        data: the height of data, a line of dots; none for NaN.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    drawn = [row for row in rows if any(row.spread(k).values for k in steps)]
    families = list(dict.fromkeys(row.family for row in drawn)) if len(drawn) > TOGETHER else [""]
    across = min(ACROSS, len(families))
    down = math.ceil(len(families) / across)
    figure = new_figure(7.0 if across == 1 else 4.2 * across, 4.4 if down == 1 else 3.4 * down)
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, family in zip(panels, families, strict=False):
        own = [row for row in drawn if not family or row.family == family]
        for row in drawn if family else ():
            _curve(axes, row, steps, color=FAINT, linewidth=0.6)
        for row in own:
            _curve(axes, row, steps, label=row.label, spread=True)
        if data > 0:
            axes.axhline(data, color="black", linestyle=":", linewidth=0.9, label="data")
        _finish(axes, steps, distance, family)
    for axes in panels[len(families) :]:
        axes.axis("off")
    save_figure(path, figure)


def _curve(axes: Any, row: Row, steps: Sequence[int], *, spread: bool = False, **style: Any) -> None:
    found = [(k, each) for k in steps if (each := row.spread(k)).values]
    if not found:
        return
    places, means = [k for k, _ in found], [each.mean for _, each in found]
    if not spread:
        axes.plot(places, means, zorder=1, **style)
        return
    errors = [0.0 if math.isnan(each.deviation) else each.deviation for _, each in found]
    axes.errorbar(places, means, yerr=errors, marker="o", markersize=3, linewidth=1.2, capsize=2, **style)


def _finish(axes: Any, steps: Sequence[int], distance: str, family: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel="network calls", ylabel=distance)
    axes.set_xticks(list(steps), [str(k) for k in steps])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="upper right")  # curves fall; the best place is slow to find
    if family:
        axes.set_title(family[:60] + ("..." if len(family) > 60 else ""), fontsize="x-small", loc="left")

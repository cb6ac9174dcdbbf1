"""A number for each pair of times, as an SVG drawing of coloured cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flowops.evaluation.report.axis import Axis
from flowops.evaluation.report.chart import frame
from flowops.evaluation.report.svg import Drawing

WIDTH, HEIGHT = 420.0, 338.0
_LEFT, _TOP, _SIDE, _BAR = 56.0, 8.0, 290.0, 14.0
_SHADES = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")
"""Matplotlib's viridis at nine places: its lightness tells the order without the colours, in print as well."""
_STEPS = 32
_RANGE = 1e6  # of the colours; what is less is rounding beside the largest, on the diagonal say
_OVERLAP = 0.3  # of neighbouring cells, between which nothing shows through


def heat_map(edges: Sequence[float], values: Sequence[Sequence[float]], told: str) -> str:
    r"""The drawing: $s$ across, $t$ up, the colour by the logarithm.

    Args:
        edges: $k+1$ times at equal distances, between which the cells are.
        values: those of the cells, $k\times k$, first over $s$, then over $t$; NaN for none.
        told: what is seen, for those who do not see it.
    """
    colours = colour_scale([v for row in values for v in row])
    drawing = Drawing(WIDTH, HEIGHT, told)
    across = Axis(edges[0], edges[-1], _LEFT, _LEFT + _SIDE)
    up = Axis(edges[0], edges[-1], _TOP + _SIDE, _TOP)
    frame(drawing, across, up, ("s", "t"))
    left, bottom, side = _LEFT, _TOP + _SIDE, _SIDE / len(values)
    for j, row in enumerate(values):
        for k, value in enumerate(row):
            if math.isnan(value):
                continue
            s, t = (edges[j] + edges[j + 1]) / 2, (edges[k] + edges[k + 1]) / 2
            drawing.add(
                "rect", x=left + j * side, y=bottom - (k + 1) * side, width=side + _OVERLAP, height=side + _OVERLAP,
                fill=shade(colours(max(value, colours.low))), told=f"s = {s:.3g}, t = {t:.3g}: {value:.3g}",
            )  # fmt: skip
    _bar(drawing, colours)
    return str(drawing)


def colour_scale(values: Sequence[float]) -> Axis:
    """From values to shares of the colours, by the logarithm; what is not finite or not positive does not count."""
    held = [v for v in values if math.isfinite(v) and v > 0]
    least = max(held, default=1.0) / _RANGE
    return Axis.over([max(v, least) for v in held], 0.0, 1.0, logarithmic=True, room=0.0)


def _bar(drawing: Drawing, colours: Axis) -> None:
    """What the colours mean."""
    x, step = _LEFT + _SIDE + 16, _SIDE / _STEPS
    for k in range(_STEPS):
        y = _TOP + _SIDE - (k + 1) * step
        drawing.add("rect", x=x, y=y, width=_BAR, height=step + _OVERLAP, fill=shade((k + 0.5) / _STEPS))
    for at, text in colours.ticks():
        drawing.text((x + _BAR + 4, _TOP + _SIDE * (1 - at) + 4), text)


def shade(share: float | None) -> str:
    """The colour of a share of the way; what cannot be shown is the last."""
    at = (1.0 if share is None else min(1.0, max(0.0, share))) * (len(_SHADES) - 1)
    low = min(int(at), len(_SHADES) - 2)
    ends = [[int(shade[k : k + 2], 16) for k in (0, 2, 4)] for shade in _SHADES[low : low + 2]]
    return "#" + "".join(f"{round(a + (at - low) * (b - a)):02x}" for a, b in zip(*ends, strict=True))

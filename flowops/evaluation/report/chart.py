"""Curves and dots over two axes, as an SVG drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flowops.evaluation.report.axis import Axis
from flowops.evaluation.report.svg import Drawing, Point

WIDTH, HEIGHT = 420.0, 280.0
MANY = 100  # dots that are drawn smaller
COLOURS = 6  # of the page; more curves begin anew
_LEFT, _RIGHT, _TOP, _BOTTOM, _LINE = 60.0, 8.0, 8.0, 40.0, 16.0


@dataclass(frozen=True)
class Curve:
    """Values over places.

    Attributes:
        label: what it is; empty for none in the legend.
        x: the places; NaN begins a new line.
        y: the values.
        style: line, dashes, or dots for points alone; marks for a line with dots at its places, trail for thin dashes.
        colour: number of its colour; None for the next one.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "line"
    colour: int | None = None


def chart(
    curves: Sequence[Curve],
    labels: tuple[str, str],
    told: str,
    *,
    logarithmic: str = "",
    square: bool = False,
    also: Sequence[Point] = (),
) -> str:
    """The drawing.

    Args:
        curves: what is shown; what is not finite, or not positive on a logarithmic axis, leaves a gap.
        labels: names of the two axes.
        told: what is seen, for those who do not see it.
        logarithmic: which axes are, such as "x", "y" or "xy".
        square: whether both axes have one scale.
        also: places that lie inside the axes beside the curves, so that several charts have the same.
    """
    named = [(k, curve) for k, curve in enumerate(curves) if curve.label]
    rows = math.ceil(len(named) / 2) if len(named) > 1 else 0
    height = (WIDTH - _LEFT - _RIGHT + _TOP + _BOTTOM if square else HEIGHT) + rows * _LINE
    bottom = height - _BOTTOM - rows * _LINE
    places, values = [x for x, _ in also], [y for _, y in also]
    for curve in curves:
        places += curve.x
        values += curve.y
    across = Axis.over(places, _LEFT, WIDTH - _RIGHT, logarithmic="x" in logarithmic)
    up = Axis.over(values, bottom, _TOP, logarithmic="y" in logarithmic)
    if square:
        across, up = _of_one_scale(across, up)
    drawing = Drawing(WIDTH, height, told)
    frame(drawing, across, up, labels)
    for k, curve in enumerate(curves):
        _draw(drawing, curve, f"c{(k if curve.colour is None else curve.colour) % COLOURS}", across, up)
    for row, (k, curve) in enumerate(named if rows else []):
        x, y = _LEFT + (row % 2) * (WIDTH - _LEFT) / 2, bottom + _BOTTOM + (row // 2) * _LINE + 6
        colour = f"c{(k if curve.colour is None else curve.colour) % COLOURS}"
        _key(drawing, (x, y), curve.style, colour)
        drawing.text((x + 26, y + 4), curve.label)
    return str(drawing)


def frame(drawing: Drawing, across: Axis, up: Axis, labels: tuple[str, str]) -> None:
    """The two axes with ticks, a grid, and their names."""
    for at, text in across.ticks():
        drawing.lines([(at, up.start), (at, up.end)], "grid")
        drawing.text((at, up.start + 15), text, "middle")
    for at, text in up.ticks():
        drawing.lines([(across.start, at), (across.end, at)], "grid")
        drawing.text((across.start - 5, at + 4), text, "end")
    drawing.lines([(across.start, up.end), (across.start, up.start), (across.end, up.start)], "axis")
    drawing.text(((across.start + across.end) / 2, up.start + 32), labels[0], "middle")
    drawing.text((13, (up.start + up.end) / 2), labels[1], "middle", turned=True)


def _draw(drawing: Drawing, curve: Curve, colour: str, across: Axis, up: Axis) -> None:
    places: list[Point | None] = []
    for x, y in zip(map(across, curve.x), map(up, curve.y), strict=True):
        places.append(None if x is None or y is None else (x, y))
    _strokes(drawing, curve.style, places, colour, many=len(places) >= MANY)


def _key(drawing: Drawing, place: Point, style: str, colour: str) -> None:
    x, y = place
    ends: list[Point | None] = [(x, y), (x + 20, y)]
    _strokes(drawing, style, [(x + 10, y)] if style == "dots" else ends, colour)


def _strokes(drawing: Drawing, style: str, places: Sequence[Point | None], colour: str, many: bool = False) -> None:
    """A line, dots, or both."""
    if style != "dots":
        drawing.lines(places, f"{'line' if style == 'marks' else style} {colour}")
    if style in ("dots", "marks", "trail"):
        drawing.dots([place for place in places if place is not None], f"{'dots' if many else 'marks'} {colour}")


def _of_one_scale(across: Axis, up: Axis) -> tuple[Axis, Axis]:
    """Both axes widened to the same span of values, about their middles."""
    half = max(across.high - across.low, up.high - up.low) / 2
    middles = [(axis.low + axis.high) / 2 for axis in (across, up)]
    wide = [
        Axis(middle - half, middle + half, axis.start, axis.end)
        for middle, axis in zip(middles, (across, up), strict=True)
    ]
    return wide[0], wide[1]

"""Axes, curves and cells: values are where they belong, and what cannot be shown leaves a gap."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from flowops.evaluation.report.axis import Axis, shown
from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.heat_map import heat_map


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", [[0.3, 70.0], [2.0, 2.0], [1e-9, 1e9], [5.0], [], [math.nan, math.inf]])
def test_an_axis_holds_its_values_and_has_ticks_inside(values: list[float], logarithmic: bool) -> None:
    axis = Axis.over(values, 10.0, 110.0, logarithmic=logarithmic)
    places = [axis(v) for v in values if math.isfinite(v)]
    assert all(place is not None and 10.0 <= place <= 110.0 for place in places)
    ticks = list(axis.ticks())
    assert 2 <= len(ticks) <= 14
    assert all(10.0 <= place <= 110.0 for place, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_a_logarithmic_axis_shows_equal_quotients_as_equal_distances() -> None:
    axis = Axis(1.0, 100.0, 0.0, 200.0, logarithmic=True)
    assert [axis(v) for v in (1.0, 10.0, 100.0)] == pytest.approx([0.0, 100.0, 200.0])
    assert axis(0.0) is None
    assert axis(-1.0) is None
    assert Axis(0.0, 1.0, 0.0, 1.0)(math.nan) is None


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (1e-7, "10⁻⁷"), (2e5, "2·10⁵"), (-3.0, "-3")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert shown(value) == text


def test_a_curve_goes_through_its_points_and_breaks_where_there_is_none() -> None:
    root = ElementTree.fromstring(
        chart([Curve("", [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, math.nan, 4.0])], ("x", "y"), "seen")
    )
    (path,) = [element.get("d", "") for element in root.iter("path") if "line" in (element.get("class") or "").split()]
    assert path.count("M") == 2
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
    assert heights[0] > heights[1] > heights[2]  # up is less
    assert root.get("aria-label") == "seen"


def test_both_axes_of_a_square_chart_have_one_scale() -> None:
    root = ElementTree.fromstring(
        chart([Curve("", [0.0, 4.0, 0.0], [0.0, 0.0, 1.0], "dots")], ("x", "y"), "", square=True)
    )
    (path,) = [element.get("d", "") for element in root.iter("path") if "marks" in (element.get("class") or "")]
    (x0, y0), (x1, _), (_, y2) = [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path)]
    assert (x1 - x0) / 4 == pytest.approx(y0 - y2, abs=0.2)


def test_cells_are_told_and_those_without_a_number_are_left_out() -> None:
    text = heat_map([0.0, 0.5, 1.0], [[0.1, 10.0], [math.nan, 1.0]], "a residual")
    root = ElementTree.fromstring(text)
    cells = [rect for rect in root.iter("rect") if rect.find("title") is not None]
    told = {str(rect.findtext("title")): rect for rect in cells}
    assert set(told) == {"s = 0.25, t = 0.25: 0.1", "s = 0.25, t = 0.75: 10", "s = 0.75, t = 0.75: 1"}
    low, high, last = (told[name] for name in sorted(told))
    assert (low.get("fill"), high.get("fill")) == ("#440154", "#fde725")
    assert float(high.get("y", "")) < float(low.get("y", ""))  # t goes up
    assert float(last.get("x", "")) > float(high.get("x", ""))  # s goes right


@pytest.mark.parametrize("values", [[[0.0]], [[math.nan]], [[math.inf]]])
def test_cells_without_a_positive_number_are_drawn_all_the_same(values: list[list[float]]) -> None:
    ElementTree.fromstring(heat_map([0.0, 1.0], values, ""))

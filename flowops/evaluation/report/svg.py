"""A drawing as the text of an SVG element: what it is made of has classes, and the page has their colours."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from flowops.evaluation.plain import legal

Point = tuple[float, float]


class Drawing:
    """A drawing of a size, to which elements are added.

    Texts are escaped. The file that holds it needs no other one.

    Args:
        width: in units of which a page shows about one for a pixel.
        height: likewise.
        label: what is seen, for those who do not see it.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.root = ElementTree.Element(
            "svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": legal(label)}
        )

    def add(self, name: str, style: str = "", text: str = "", *, told: str = "", **attributes: str | float) -> None:
        """An element of a name and a class; `told` is shown where the pointer rests on it."""
        given = {key.replace("_", "-"): _written(value) for key, value in attributes.items()}
        element = ElementTree.SubElement(self.root, name, {"class": style, **given} if style else given)
        element.text = legal(text) or None
        if told:
            ElementTree.SubElement(element, "title").text = legal(told)

    def text(self, place: Point, text: str, anchor: str = "start", style: str = "", turned: bool = False) -> None:
        """A text at a place, which its start, middle or end is at; `turned` it reads upwards."""
        x, y = place
        more = {"transform": f"rotate(-90 {x:g} {y:g})"} if turned else {}
        self.add("text", style, text, x=x, y=y, text_anchor=anchor, **more)

    def lines(self, points: Iterable[Point | None], style: str) -> None:
        """Straight lines from one point to the next; None begins anew."""
        path, new = [], True
        for point in points:
            if point is not None:
                path.append(f"{'M' if new else 'L'}{point[0]:.1f} {point[1]:.1f}")
            new = point is None
        if path:
            self.add("path", style, d="".join(path))

    def dots(self, points: Iterable[Point], style: str) -> None:
        """Round dots, whose width is that of a line of the class."""
        if path := "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points):
            self.add("path", style, d=path)

    def __str__(self) -> str:
        """The text."""
        return ElementTree.tostring(self.root, encoding="unicode")


def _written(value: str | float) -> str:
    return legal(value) if isinstance(value, str) else f"{value:.5g}"

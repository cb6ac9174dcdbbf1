"""The drawing of the page atlas: python docs/drawing_atlas.py writes atlas.svg.

A box is an idea, a row that is no preset, with everything that it is under other names and settings. What lies in one
column is close in kind; lines join rows of two boxes that are equal, arrows lead to what a row tends to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rcParams
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from flowops.methods import METHODS, Method, Relation, atlas, rows
from flowops.methods.rows import FAMILIES
from flowops.pictures import new_figure, save_figure

OUT = Path(__file__).with_name("atlas.svg")
COLUMN, WIDTH, LINE, GAP = 2.35, 1.75, 0.23, 0.4
NEIGHBOURS = (  # joined by most lines
    *(rows.moments, rows.anchored, rows.consistency, rows.finite_steps),
    *(rows.distillation, rows.self_distillation, rows.mean_velocity),
)
COLUMNS = (*NEIGHBOURS, *(family for family in FAMILIES if family not in NEIGHBOURS))
COLOURS = ("#fff3d6", "#e3edf9", "#e6f3e6", "#f6e6f2", "#e8f4f4", "#f3ece0", "#eeeaf6", "#f5f5dc")


class Box(NamedTuple):
    """An idea: its row, the names that are it, where its lower left corner lies, how high it is, its column."""

    row: str
    names: tuple[str, ...]
    left: float
    bottom: float
    height: float
    column: int


def home(name: str) -> str:
    """The idea that a row belongs to."""
    while METHODS[name].row.preset_of:
        name = METHODS[name].row.preset_of
    return name


def boxes() -> dict[str, Box]:
    """The ideas, those of a family below each other, ordered as in the table."""
    relations = atlas()
    members: dict[str, list[str]] = {name: [] for name, method in METHODS.items() if not method.row.preset_of}
    for name in METHODS:
        if home(name) != name:
            members[home(name)].append(name)
    for relation in relations:
        if relation.name not in METHODS:
            members[home(relation.of)].append(relation.name)
    placed: dict[str, Box] = {}
    tops = [0.0] * len(COLUMNS)
    for family in FAMILIES:
        column = COLUMNS.index(family)
        for method in (value for value in vars(family).values() if isinstance(value, Method)):
            name = method.name
            if name in members and name not in placed:
                height = LINE * (1 + len(members[name])) + 0.16
                placed[name] = Box(name, tuple(members[name]), column * COLUMN, tops[column] - height, height, column)
                tops[column] -= height + GAP
    return placed


def between(ideas: dict[str, Box]) -> list[tuple[Box, Box, Relation]]:
    """The relations that join two ideas, each pair once for every kind."""
    found: dict[tuple[str, str, bool], Relation] = {}
    for relation in atlas():
        if relation.name in METHODS and home(relation.name) != home(relation.of):
            key = home(relation.name), home(relation.of), relation.order is None
            found.setdefault(key, relation)
    return [(ideas[a], ideas[b], relation) for (a, b, _), relation in found.items()]


def draw() -> Any:
    """The figure."""
    ideas = boxes()
    low = min(box.bottom for box in ideas.values())
    figure = new_figure(1.02 * COLUMN * len(FAMILIES), 1.0 - low)
    axes = figure.subplots()
    for box in ideas.values():
        shape = FancyBboxPatch(
            (box.left, box.bottom),
            WIDTH,
            box.height,
            boxstyle="round,pad=0.04",
            facecolor=COLOURS[box.column % len(COLOURS)],
            linewidth=0.8,
        )
        axes.add_patch(shape)
        for i, name in enumerate((box.row, *box.names)):
            weight = "bold" if i == 0 else "normal"
            style = "normal" if name in METHODS else "italic"
            y = box.bottom + box.height - 0.06 - LINE * i
            axes.text(box.left + 0.06, y, name, va="top", fontsize=9, weight=weight, style=style)
    for a, b, relation in between(ideas):
        axes.add_patch(_joined(a, b, relation))
    for column, family in enumerate(COLUMNS):
        title = family.__name__.rpartition(".")[2].replace("_", " ")
        axes.text(column * COLUMN, 0.25, title, fontsize=10, color="#555555", va="bottom")
    axes.set(xlim=(-0.2, COLUMN * len(FAMILIES) + 0.1), ylim=(low - 0.15, 0.6))
    axes.axis("off")
    return figure


def _joined(a: Box, b: Box, relation: Relation) -> FancyArrowPatch:
    """A line or an arrow between the sides of two boxes that face each other; around, within a column."""
    if a.column == b.column:
        x, y = ((box.left + WIDTH + 0.04, box.bottom + box.height / 2) for box in (a, b))
        bend = -0.5 if y[1] < x[1] else 0.5
    else:
        right = a.left < b.left
        x = (a.left + (WIDTH + 0.04 if right else -0.04), a.bottom + a.height / 2)
        y = (b.left + (-0.04 if right else WIDTH + 0.04), b.bottom + b.height / 2)
        bend = 0.08
    equal = relation.order is None
    return FancyArrowPatch(
        x,
        y,
        arrowstyle="-" if equal else "-|>",
        connectionstyle=f"arc3,rad={bend}",
        mutation_scale=11,
        linewidth=1.3 if equal else 1.0,
        linestyle="-" if equal else (0, (4, 2)),
        color="#34558b" if equal else "#a0522d",
        zorder=0,  # behind the boxes that it passes
    )


if __name__ == "__main__":
    rcParams["svg.hashsalt"] = "flowops"  # the same file every time
    rcParams["svg.fonttype"] = "path"
    save_figure(OUT, draw())

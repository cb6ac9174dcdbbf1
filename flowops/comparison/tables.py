"""The tables of a comparison, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowops.comparison.outcome import Outcome
from flowops.comparison.row import Row, Spread

BETTER_ABOVE = ("precision", "recall")
HOW = {
    "field": "Euler steps along the field, which alone is trained",
    "endpoint": "all noise put back after each step, since the map to the end time alone is trained",
}


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, its first column to the left and the others to the right."""
    widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
    rule = ["-" * widths[0], *("-" * (max(width, 2) - 1) + ":" for width in widths[1:])]

    def shown(cells: Sequence[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return f"| {' | '.join([cells[0].ljust(widths[0]), *rest])} |"

    return "\n".join([shown(header), shown(rule), *map(shown, lines)])


def distances(rows: Sequence[Row], steps: Sequence[int], columns: Sequence[str], solver: str | None) -> str:
    """The first column of the metrics by number of calls, lowest in bold, and that of the solver with its calls."""
    lowest = {k: min((row.spread(k).mean for row in rows if row.spread(k).values), default=math.nan) for k in steps}
    head = ["method", *(f"{k} call{'s' * (k > 1)}" for k in steps), *([f"{solver} (calls)"] if solver else [])]
    lines = []
    for row in rows:
        cells = [_marked(row.spread(k), lowest[k]) for k in steps]
        if solver:
            found = row.spread(None)
            calls = Spread.of([each.calls for o in row.measured for each in o.measured if each.steps is None])
            cells.append(f"{found} ({calls.mean:.0f})" if found.values else "")
        lines.append([_named(row), *cells])
    if (data := _data(rows)) is not None and math.isfinite(data.values[0]):
        lines.append([data.sampler, *[f"{data.values[0]:.3g}"] * (len(head) - 1)])
    return f"{columns[0]}, mean and standard deviation over the seeds:\n\n{table(head, lines)}"


def at_equal_numbers(rows: Sequence[Row], steps: Sequence[int], columns: Sequence[str]) -> str:
    """The distance of as many samples as there are data held out, with the data beside them; empty if all are equal."""
    further = [k for k, name in enumerate(columns) if name.startswith(f"{columns[0]}, first ")]
    data = _data(rows)
    if not further or data is None:
        return ""
    column = further[0]
    lines = [[_named(row), *(str(row.spread(k, column)) for k in steps)] for row in rows]
    lines.append([data.sampler, *[f"{data.values[column]:.3g}"] * len(steps)])
    head = ["method", *(f"{k} call{'s' * (k > 1)}" for k in steps)]
    return f"{columns[column]}, beside data of that number:\n\n{table(head, lines)}"


def precision_and_recall(rows: Sequence[Row], steps: Sequence[int], columns: Sequence[str]) -> str:
    """Both, by number of calls; empty for data without them."""
    if not all(name in columns for name in BETTER_ABOVE):
        return ""
    first, second = (columns.index(name) for name in BETTER_ABOVE)

    def cell(row: Row, k: int) -> str:
        found = row.spread(k, first), row.spread(k, second)
        return " / ".join(f"{each.mean:.2f}" for each in found) if all(each.values for each in found) else ""

    head = ["method", *(f"{k} call{'s' * (k > 1)}" for k in steps)]
    lines = [[_named(row), *(cell(row, k) for k in steps)] for row in rows]
    return f"Precision / recall, means over the seeds:\n\n{table(head, lines)}"


COSTS: Mapping[str, tuple[str, str]] = {
    "images": ("images seen", "count"),
    "before": ("images of its teacher or earlier stage", "count"),
    "steps": ("steps", "count"),
    "seconds": ("seconds of training", "spread"),
    "memory": ("peak memory, MB", "memory"),
    "calls": ("network calls per step", "number"),
    "teacher_calls": ("teacher's calls per step", "number"),
    "semigroup": ("semigroup residual", "spread"),
    "certificate": ("certificate's relative estimate", "spread"),
}
"""Field of an outcome: its title, and how it is written."""


def costs(rows: Sequence[Row]) -> str:
    """What the training of each row cost, and how far its map is from a flow."""
    lines = [[_named(row), *(_cost(row.cost(name), how) for name, (_, how) in COSTS.items())] for row in rows]
    return table(["method", *(title for title, _ in COSTS.values())], lines)


def _cost(found: Spread, how: str) -> str:
    if not found.values:
        return ""
    if how == "count":
        return f"{found.mean:,.0f}"
    if how == "memory":
        return f"{found.mean / 1e6:,.0f}"
    return f"{found.mean:.3g}" if how == "number" else str(found)


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """How the rows are sampled whose map is not trained between all times."""
    for kind, how in HOW.items():
        if some := [f"`{row.label}`" for row in rows if row.kind == kind]:
            yield f"{', '.join(some)}: {how}."


def _data(rows: Sequence[Row]) -> Any:
    return next((outcome.data for row in rows for outcome in row.measured if outcome.data is not None), None)


def _named(row: Row) -> str:
    mark = "" if row.outcomes[0].role == "row" else f" ({row.outcomes[0].role})"
    return f"`{row.label}`{mark}"


def _marked(found: Spread, lowest: float) -> str:
    return f"**{found}**" if found.values and found.mean == lowest else str(found)


def unmeasured(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each outcome without samples."""
    return [
        f"* `{outcome.name}`: {outcome.verdict}{f' ({outcome.told})' if outcome.told else ''}"
        for outcome in outcomes
        if outcome.verdict != "measured"
    ]

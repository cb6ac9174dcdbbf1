"""How trajectories run: length, bends, speed, energy, dimension, and how far neighbours part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Paragraph, Part, Section, Table
from flowops.fields.divergence import inner
from flowops.maps import (
    FlowMap,
    SolutionOperator,
    arc_length,
    lipschitz,
    principal_variances,
    straightness,
    tangent_norms,
    turning,
)

STATES, TIMES, NODES = 16, 24, 16
_FEW, _LARGE = 8, 256  # states that are large, and of how many numbers
TOLERANCE = 1e-4
"""Of the solves behind Lipschitz constants, two a direction: three digits are told, of a bound from below."""
_QUANTILES = {"median": 0.5, "largest": 1.0}
_TOLD = (
    "Of the curves from the first time on: solutions of the field, and what one step of the map reaches at each time. "
    "A line at constant speed spends the squared distance of its ends as energy; what bends and hurries add is told "
    "apart."
)

Measure = Callable[[FlowMap, float, float, Tensor], Mapping[str, Tensor]]
"""Of a map, two times and states: numbers of each state by what they are."""


@torch.no_grad()
def shape_section(observed: Observed) -> Section:
    """Lengths, bends, energies, dimensions, speeds and Lipschitz constants: a table, and speeds over time."""
    few = observed.first(STATES if observed.event.numel() <= _LARGE else _FEW)
    parts: list[Part] = [Paragraph(_TOLD), _table(few), _speeds(few)]
    return Section("Shapes of trajectories", parts)


def _lengths(X: FlowMap, s: float, t: float, x: Tensor) -> dict[str, Tensor]:
    """Of the curves as a whole; a line at constant speed spends the squared distance of its ends."""
    way = X(s, t, x) - x
    squares, bends = inner(way, way), straightness(X, s, t, x, nodes=NODES)
    return {
        "length over distance of the ends": arc_length(X, s, t, x, nodes=NODES) / squares.sqrt(),
        "kinetic energy, ∫|∂X|²": squares + bends,
        "of it for bends and hurries (straightness)": bends,
    }


def _axes(X: FlowMap, s: float, t: float, x: Tensor) -> dict[str, Tensor]:
    """Shares of the variance."""
    variances = principal_variances(X, s, t, x, nodes=NODES)
    total = variances.sum(1)
    return {
        "share of the first principal axis": variances[:, 0] / total,
        "share of the first two": variances[:, :2].sum(1) / total,
    }


def _turned(X: FlowMap, s: float, t: float, x: Tensor) -> dict[str, Tensor]:
    return {"turning, in radians": turning(X, s, t, x, nodes=NODES)}


def _stretched(X: FlowMap, s: float, t: float, x: Tensor) -> dict[str, Tensor]:
    if isinstance(X, SolutionOperator):
        X = SolutionOperator(X.b, rtol=TOLERANCE, atol=TOLERANCE, on_failure="nan")
    generator = torch.Generator(x.device).manual_seed(0)
    return {"local Lipschitz constant, |∇X|": lipschitz(X, s, t, x, generator=generator)}


MEASURES: tuple[Measure, ...] = (_lengths, _turned, _axes, _stretched)
"""What is told of each curve."""


def _table(few: Observed) -> Table:
    told = {way: _told_of(X, few) for way, X in _ways(few).items()}
    names = dict.fromkeys(name for found in told.values() for name in found)
    empty = [""] * len(_QUANTILES)
    rows = tuple((name, *(text for found in told.values() for text in found.get(name, empty))) for name in names)
    header = ("", *(f"{way}, {quantile}" for way in told for quantile in _QUANTILES))
    return Table(f"Over {len(few.x)} states", header, rows)


def _ways(few: Observed) -> dict[str, FlowMap]:
    solved: dict[str, FlowMap] = {"solution": few.truth()}
    return solved if few.solved else {**solved, "map": few.X}


def _told_of(X: FlowMap, few: Observed) -> dict[str, list[str]]:
    """The quantiles of every measure in words, but of those for which this map has no such derivative."""
    found: dict[str, list[str]] = {}
    for measure in MEASURES:
        with suppress(RuntimeError, NotImplementedError):
            values = measure(X, *few.horizon, few.x)
            found |= {name: _quantiles(of_states.double()) for name, of_states in values.items()}
    return {name: texts for name, texts in found.items() if any(texts)}


def _quantiles(values: Tensor) -> list[str]:
    values = values[values.isfinite()]
    return [f"{float(values.quantile(q)):.3g}" if len(values) else "" for q in _QUANTILES.values()]


def _speeds(few: Observed) -> Figure:
    """Medians of the norms of tangents over time."""
    times, start = few.times(TIMES), few.horizon[0]
    curves, data = [], {"times": times.tolist()}
    for k, (name, X) in enumerate(_ways(few).items()):
        speeds = tangent_norms(X, start, times, few.x).double()
        data[name] = speeds.nanmedian(1).values.tolist()
        curves.append(Curve(name, times.tolist(), data[name], colour=5 * (1 - k)))
    told = "Speed |∂X/∂t| along the curves: medians."
    return Figure(told, chart(curves, ("t", "speed"), told), data)

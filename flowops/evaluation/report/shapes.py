"""How trajectories run: length, bends, speed, energy, dimension, and how far neighbours part."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Paragraph, Part, Section, Table
from flowops.fields.divergence import inner
from flowops.maps import FlowMap, arc_length, lipschitz, principal_variances, straightness, tangent_norms, turning

STATES, TIMES, NODES = 16, 24, 16
_FEW, _LARGE = 8, 256  # states that are large, and of how many numbers
_QUANTILES = {"median": 0.5, "largest": 1.0}
_TOLD = (
    "Of the curves from the first time on: solutions of the field, and what one step of the map reaches at each time. "
    "A line at constant speed spends the squared distance of its ends as energy; what bends and hurries add is told "
    "apart."
)

Measure = Callable[[FlowMap, float, float, Tensor], Tensor]
"""Of a map, two times and states: a number for each state."""


@torch.no_grad()
def shape_section(observed: Observed) -> Section:
    """Lengths, bends, energies, dimensions, speeds and Lipschitz constants: a table, and speeds over time."""
    few = observed.first(STATES if observed.event.numel() <= _LARGE else _FEW)
    parts: list[Part] = [Paragraph(_TOLD), _table(few), _speeds(few)]
    return Section("Shapes of trajectories", parts)


def _share(axes: int) -> Measure:
    """The share of the variance along so many principal axes."""

    def share(X: FlowMap, s: float, t: float, x: Tensor) -> Tensor:
        variances = principal_variances(X, s, t, x, nodes=NODES)
        return variances[:, :axes].sum(1) / variances.sum(1)

    return share


def _energy(X: FlowMap, s: float, t: float, x: Tensor) -> Tensor:
    """The action of the curve, by its parts: what a line spends, and what bends and hurries do."""
    return straightness(X, s, t, x, nodes=NODES) + _squares(X, s, t, x)


def _squares(X: FlowMap, s: float, t: float, x: Tensor) -> Tensor:
    """Squared distances of the two ends."""
    way = X(s, t, x) - x
    return inner(way, way)


def _longer(X: FlowMap, s: float, t: float, x: Tensor) -> Tensor:
    return arc_length(X, s, t, x, nodes=NODES) / _squares(X, s, t, x).sqrt()


def _stretched(X: FlowMap, s: float, t: float, x: Tensor) -> Tensor:
    return lipschitz(X, s, t, x, generator=torch.Generator(x.device).manual_seed(0))


MEASURES: Mapping[str, Measure] = {
    "length over distance of the ends": _longer,
    "kinetic energy, ∫|∂X|²": _energy,
    "of it for bends and hurries (straightness)": lambda X, s, t, x: straightness(X, s, t, x, nodes=NODES),
    "turning, in radians": lambda X, s, t, x: turning(X, s, t, x, nodes=NODES),
    "share of the first principal axis": _share(1),
    "share of the first two": _share(2),
    "local Lipschitz constant, |∇X|": _stretched,
}
"""What is told of each curve."""


def _table(few: Observed) -> Table:
    ways = _ways(few)
    rows = []
    for name, measure in MEASURES.items():
        cells = [text for X in ways.values() for text in _cells(measure, X, few)]
        if any(cells):
            rows.append((name, *cells))
    header = ("", *(f"{way}, {quantile}" for way in ways for quantile in _QUANTILES))
    return Table(f"Over {len(few.x)} states", header, tuple(rows))


def _ways(few: Observed) -> dict[str, FlowMap]:
    solved: dict[str, FlowMap] = {"solution": few.truth()}
    return solved if few.solved else {**solved, "map": few.X}


def _cells(measure: Measure, X: FlowMap, few: Observed) -> list[str]:
    """The quantiles in words; empty where this map has no such derivative."""
    try:
        values = measure(X, *few.horizon, few.x).double()
    except (RuntimeError, NotImplementedError):
        return [""] * len(_QUANTILES)
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

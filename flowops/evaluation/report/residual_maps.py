r"""Each residual over all pairs of times: where a map is no flow map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from flowops import residuals
from flowops.checks.derivatives import Differenced, values_only
from flowops.evaluation.report.heat_map import heat_map
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Paragraph, Section
from flowops.maps import FlowMap, LearnedMap
from flowops.sampling import blocks, chunk_size

CELLS, STATES = 12, 16  # times on each axis, and states in each cell
_FEW = 4  # states where each of them is large
_LARGE = 256  # numbers of a state
_AGREE = 1e-3  # how far forward mode may be from differences, relatively, to be believed


@dataclass(frozen=True)
class ResidualMap:
    r"""Root mean squares over states and entries, for each pair of times.

    Attributes:
        edges: the times between which the cells lie, `[k + 1]`; a residual is taken in the middle of its cell.
        values: by residual, `[k, k]`, first over $s$, then over $t$; NaN where nothing was taken.
        velocity: the root mean square of the field along the way, to compare with.
    """

    edges: tuple[float, ...]
    values: Mapping[str, Tensor]
    velocity: float


@torch.no_grad()
def residual_map(observed: Observed, cells: int = CELLS) -> ResidualMap:
    r"""The Lagrangian, Eulerian, semigroup and inverse residual in the middle of each cell of times.

    States are those that the map itself visits, $x_s=X_{0,s}(x_0)$; the middle time of the semigroup is $(s+t)/2$.
    Derivatives are those of the values by forward mode, by differences where that does not pass; a `LearnedMap` knows
    its own. Only $s\le t$ is looked at where the map is not meant to go back.

    Cost: about ten calls of the map for each cell and state.
    """
    few = observed.first(STATES if observed.event.numel() <= _LARGE else _FEW)
    n, edges = len(few.x), few.times(cells)
    middles = (edges[1:] + edges[:-1]) / 2
    pairs = [(j, k) for j in range(cells) for k in range(cells) if few.backward or j <= k]
    found = {name: torch.full((cells, cells), math.nan, dtype=torch.float64) for name in NAMES}
    route = _route(few)
    visited = few.X.path(few.horizon[0], middles, few.x)
    speed = [few.b(t, x).double().square().mean() for t, x in zip(middles, visited, strict=True)]
    for block in blocks(len(pairs), max(1, chunk_size(few.event) // (4 * n))):
        rows = torch.arange(n, device=few.x.device).repeat(len(block))
        starts, ends = (torch.tensor([pairs[i][side] for i in block], device=few.x.device) for side in (0, 1))
        s, t = (middles[index].repeat_interleave(n) for index in (starts, ends))
        part = few.rows(rows)
        X, x = route(part.X), visited[starts].flatten(0, 1)
        for name, residual in NAMES.items():
            squares = residual(X, part, s, t, x).double().square().reshape(len(block), -1)
            found[name][starts.cpu(), ends.cpu()] = squares.mean(1).sqrt().cpu()
    return ResidualMap(tuple(edges.tolist()), found, float(torch.stack(speed).mean().sqrt()))


_Residual = Callable[[FlowMap, Observed, Tensor, Tensor, Tensor], Tensor]
NAMES: Mapping[str, _Residual] = {
    "Lagrangian": lambda X, o, s, t, x: residuals.lagrangian(X, o.b, s, t, x),
    "Eulerian": lambda X, o, s, t, x: residuals.eulerian(X, o.b, s, t, x),
    "Semigroup": lambda _, o, s, t, x: residuals.semigroup(o.X, s, (s + t) / 2, t, x),
    "Inverse": lambda _, o, s, t, x: residuals.inverse(o.X, s, t, x),
}
_TOLD = {
    "Lagrangian": "Lagrangian: |d/dt X_{s,t}(x_s) - b_t(X_{s,t}(x_s))|",
    "Eulerian": "Eulerian: |d/ds X_{s,t}(x_s) + ∇X_{s,t}(x_s) b_s(x_s)|",
    "Semigroup": "Semigroup: |X_{u,t}(X_{s,u}(x_s)) - X_{s,t}(x_s)| with u = (s+t)/2",
    "Inverse": "Inverse: |X_{t,s}(X_{s,t}(x_s)) - x_s|",
}


def residual_section(observed: Observed) -> Section:
    """Heat maps of all residuals."""
    found = residual_map(observed)
    told = (
        "Root mean squares over states that the map visits, on a logarithmic scale; the field along the way has "
        f"{found.velocity:.3g}. Rest the pointer on a cell for its numbers."
    )
    figures = []
    for name, values in found.values.items():
        if not observed.backward and name == "Inverse":  # it would go back
            continue
        drawing = heat_map(found.edges, values.tolist(), f"{name} residual over start time s and end time t")
        figures.append(Figure(_TOLD[name], drawing, {"edges": list(found.edges), "rms": values.tolist()}))
    return Section("Residuals over pairs of times", (Paragraph(told), *figures))


def _route(observed: Observed) -> Callable[[FlowMap], FlowMap]:
    """How derivatives are taken: by a `LearnedMap` itself, by forward mode, by differences where that is none."""
    if isinstance(observed.X, LearnedMap):
        return lambda X: X
    by_differences = partial(Differenced, horizon=observed.horizon)
    start, middle, _ = observed.times(2).unbind()
    try:
        slope = values_only(observed.X).dt(start, middle, observed.x)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return by_differences
    other = by_differences(observed.X).dt(start, middle, observed.x)
    return values_only if bool((slope - other).abs().max() <= _AGREE * (1 + other.abs().max())) else by_differences

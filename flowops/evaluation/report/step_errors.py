r"""What a sample costs against how far it is from the solution of the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Section
from flowops.maps import SolutionOperator

STEPS = (1, 2, 4, 8, 16, 32)
STATES = 64
_FEW, _LARGE = 16, 256  # states that are large, and of how many numbers

Line = list[tuple[float, float]]
"""Calls per sample and distances."""


@torch.no_grad()
def step_error_section(observed: Observed) -> Section:
    """The distance from the solution over calls: of the map by equal steps, and of solvers."""
    few = observed.first(STATES if observed.event.numel() <= _LARGE else _FEW)
    true = few.truth()(*few.horizon, few.x)
    found: dict[str, Line] = {label: [(calls, _distance(x, true)) for calls, x in ways] for label, ways in _ways(few)}
    return Section("Error by number of calls", (_by_calls(found),))


def _by_calls(found: Mapping[str, Line]) -> Figure:
    curves = [Curve(label, [c for c, _ in line], [e for _, e in line], "marks") for label, line in found.items()]
    told = "Root mean square distance from the solution of the field over calls per sample."
    return Figure(told, chart(curves, ("calls per sample", "distance"), told, logarithmic="xy"), dict(found))


def _ways(few: Observed) -> Iterator[tuple[str, Iterator[tuple[float, Tensor]]]]:
    """Samples of each sampler, with their calls."""
    if not few.solved:
        yield "map, equal steps", ((k, few.X.compose(few.times(k), few.x)) for k in STEPS)
    for method, calls in (("euler", 1), ("heun", 2)):
        yield method, ((calls * k, SolutionOperator(few.b, method=method, steps=k)(*few.horizon, few.x)) for k in STEPS)


def _distance(x: Tensor, true: Tensor) -> float:
    return float((x - true).double().square().mean().sqrt())

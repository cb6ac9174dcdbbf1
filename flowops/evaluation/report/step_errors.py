r"""What a sample costs against how far it is from the solution of the field."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Section
from flowops.maps import SolutionOperator
from flowops.sampling import adaptive_sample

STEPS = (1, 2, 4, 8, 16, 32)
TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
STATES = 64
_FEW, _LARGE = 16, 256  # states that are large, and of how many numbers
_HALVINGS = 5

Line = list[tuple[float, float]]
"""Calls per sample and distances."""


@torch.no_grad()
def step_error_section(observed: Observed) -> Section:
    """The distance from the solution over calls: of the map by equal steps and to a tolerance, and of solvers."""
    few = observed.first(STATES if observed.event.numel() <= _LARGE else _FEW)
    true = few.truth()(*few.horizon, few.x)
    found: dict[str, Line] = {label: [(calls, _distance(x, true)) for calls, x in ways] for label, ways in _ways(few)}
    figures = []
    if not few.solved and few.horizon == (0.0, 1.0):  # where samplers are at home
        found["map, to a tolerance"] = [_adaptive(few, true, tolerance) for tolerance in TOLERANCES]
        figures.append(_by_tolerance(found["map, to a tolerance"]))
    return Section("Error by number of calls", (_by_calls(found), *figures))


def _by_calls(found: Mapping[str, Line]) -> Figure:
    curves = [Curve(label, [c for c, _ in line], [e for _, e in line], "marks") for label, line in found.items()]
    told = "Root mean square distance from the solution of the field over calls per sample."
    return Figure(told, chart(curves, ("calls per sample", "distance"), told, logarithmic="xy"), dict(found))


def _by_tolerance(line: Line) -> Figure:
    """What a tolerance costs, and what it gives."""
    calls, distances = ([point[k] for point in line] for k in (0, 1))
    curves = [Curve("calls per sample", TOLERANCES, calls, "marks"), Curve("distance", TOLERANCES, distances, "marks")]
    told = "Calls per sample and distance from the solution over the tolerance that was asked for."
    drawing = chart(curves, ("tolerance", "calls, distance"), told, logarithmic="xy")
    return Figure(told, drawing, {"tolerance": TOLERANCES, "calls": calls, "distance": distances})


def _ways(few: Observed) -> Iterator[tuple[str, Iterator[tuple[float, Tensor]]]]:
    """Samples of each sampler, with their calls."""
    if not few.solved:
        yield "map, equal steps", ((k, few.X.compose(few.times(k), few.x)) for k in STEPS)
    for method, calls in (("euler", 1), ("heun", 2)):
        yield method, ((calls * k, SolutionOperator(few.b, method=method, steps=k)(*few.horizon, few.x)) for k in STEPS)


def _adaptive(few: Observed, true: Tensor, tolerance: float) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what does not reach it is seen in its distance
        found = adaptive_sample(few.X, few.x, tolerance, halvings=_HALVINGS)
    return float(found.calls.double().mean()), _distance(found.x, true)


def _distance(x: Tensor, true: Tensor) -> float:
    return float((x - true).double().square().mean().sqrt())

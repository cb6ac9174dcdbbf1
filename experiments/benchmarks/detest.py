"""The twenty-five problems of DETEST, one sample each: ours and torchdiffeq's, field in torch, processor time.

    python -m experiments.benchmarks.detest --write experiments/results/detest.md

Each is solved from 0 to 20 (Hull, Enright, Fellen, Sedgwick 1972) with rtol = atol, against scipy's DOP853 at 1e-12. An
error is the largest component over one plus that of the state; "within" counts the problems on which it is at most ten
tolerances. Calls are evaluations of the field, seconds are processor seconds, the median of interleaved rounds, both
summed over the problems. The last columns compare at equal error: for each problem, what torchdiffeq's dopri5 takes for
the error reached, along lines in logarithms through its own points from 1e-3 to 1e-11, and the geometric mean of the
quotients.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torchdiffeq import odeint

from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.solvers import at
from experiments.benchmarks.timing import medians
from flowops import SolutionOperator, VelocityField
from tests.solvers.detest import END, PROBLEMS, Problem

TOLERANCES = (1e-3, 1e-6, 1e-9)
CURVE = tuple(10.0**-k for k in range(3, 12))
PEER = "torchdiffeq dopri5"
NAMES = ["flowops dopri5", "flowops tsit5", "flowops dopri8", "flowops dop853", PEER, "torchdiffeq dopri8"]
SHOWN = ("flowops dopri5", "flowops tsit5", PEER)

Slope = Callable[[Tensor, Tensor], Tensor]


class Found(NamedTuple):
    """What one solve took."""

    calls: int
    seconds: float
    error: float


Results = dict[float, list[dict[str, Found]]]
"""Of every tolerance, what each solver took for each problem."""


class Counted:
    """A right-hand side that counts its evaluations."""

    def __init__(self, slope: Slope) -> None:
        self.slope, self.calls = slope, 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return self.slope(t, y)


def solve(name: str, slope: Slope, y: Tensor, tolerance: float) -> Tensor:
    """The state at the end of one sample, `[1, n]`."""
    library, method = name.split()
    if library == "torchdiffeq":
        grid = y.new_tensor([0.0, END])
        end: Tensor = odeint(
            lambda t, z: slope(t.reshape(1), z), y, grid, rtol=tolerance, atol=tolerance, method=method
        )[-1]
        return end
    b = VelocityField.from_function(slope)
    return SolutionOperator(b, method=method, rtol=tolerance, atol=tolerance)(0.0, END, y)


def reference(problem: Problem) -> Tensor:
    """The state at the end by scipy."""

    def slope(t: float, z: object) -> object:
        return problem.slope(torch.tensor([t]).double(), torch.as_tensor(z)[None])[0].numpy()

    found = solve_ivp(slope, (0.0, END), problem.start, method="DOP853", rtol=1e-12, atol=1e-12)
    return torch.from_numpy(found.y[:, -1])


def measured(problem: Problem, names: list[str], tolerance: float, rounds: int) -> dict[str, Found]:
    """Calls, the median of interleaved processor seconds, and the error of every solver."""
    y, exact = problem.y0[None], reference(problem)
    calls, errors = {}, {}
    for name in names:
        slope = Counted(problem.slope)
        value = solve(name, slope, y, tolerance)[0]
        calls[name] = slope.calls
        errors[name] = ((value - exact).abs().amax() / (1 + exact.abs().amax())).item()
    seconds = medians({name: partial(solve, name, problem.slope, y, tolerance) for name in names}, rounds)
    return {name: Found(calls[name], seconds[name].processor, errors[name]) for name in names}


def quotients(found: list[Found], curves: list[list[Found]]) -> tuple[float, float]:
    """Calls and seconds over those that the curves take for the same errors, in the geometric mean."""
    ratios: list[tuple[float, float]] = []
    for one, curve in zip(found, curves, strict=True):
        error = max(one.error, 1e-13)
        calls = at([(0.0, point.calls, max(point.error, 1e-13)) for point in curve], error)
        seconds = at([(0.0, point.seconds, max(point.error, 1e-13)) for point in curve], error)
        ratios.append((math.log(one.calls / calls), math.log(one.seconds / seconds)))
    return tuple(math.exp(statistics.mean(column)) for column in zip(*ratios, strict=True))  # type: ignore[return-value]


def totals(results: Results, curves: list[list[Found]]) -> list[list[str]]:
    """One row for each tolerance and solver."""
    lines = []
    for q, rows in results.items():
        for name in NAMES:
            found = [row[name] for row in rows]
            within, calls = sum(one.error <= 10 * q for one in found), sum(one.calls for one in found)
            cells = [f"{within}", f"{calls}", f"{1000 * sum(one.seconds for one in found):.0f}"]
            lines.append([f"{q:g}", name, *cells, *(f"{z:.2f}" for z in quotients(found, curves))])
    return lines


def single(results: Results, problems: Sequence[Problem]) -> str:
    """One row for each problem."""
    columns = [(q, name) for q in results for name in SHOWN]
    lines = []
    for k, problem in enumerate(problems):
        found = [(q, results[q][k][name]) for q, name in columns]
        lines.append([problem.name, *(f"{one.error / q:.2g} ({one.calls})" for q, one in found)])
    return table(["", *(f"{name} {q:g}" for q, name in columns)], lines)


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    each = parser(__doc__)
    each.add_argument("--rounds", type=int, default=3)
    args = each.parse_args(words)
    rounds, problems, tolerances = (
        (1, PROBLEMS[:3], TOLERANCES[:1]) if args.quick else (args.rounds, PROBLEMS, TOLERANCES)
    )
    torch.set_num_threads(1)
    with torch.no_grad():
        curves = [[measured(problem, [PEER], q, 1)[PEER] for q in CURVE] for problem in problems]
        results = {q: [measured(problem, NAMES, q, rounds) for problem in problems] for q in tolerances}
    rows = totals(results, curves)
    head = ["tolerance", "solver", "within", "calls", "ms", "calls at equal error", "seconds at equal error"]
    lines = [about(f"{rounds} rounds", peers=["torchdiffeq", "scipy"]), table(head, rows)]
    what = "within ten tolerances; calls, seconds over torchdiffeq's dopri5 at equal error"
    headline = [
        Headline(f"DETEST at {q}, {name}: {what}", f"{within} of {len(problems)}; {calls}, {seconds}", "22 of 25; 1, 1")
        for q, name, within, _, _, calls, seconds in rows
        if name == "flowops dopri5"
    ]
    parts = [*lines, "Errors over the tolerance, and calls:", single(results, problems)]
    publish(args, "DETEST", __doc__, parts, headline)


if __name__ == "__main__":
    main()

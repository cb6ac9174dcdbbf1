"""One small sample: a pendulum from 0 to 20 by ours, field in torch, and by scipy, field in NumPy.

    python -m experiments.benchmarks.small --write experiments/results/small.md

The times are processor milliseconds, the median of interleaved rounds, with the error of the end in brackets. Below
stand the quotients of times at the errors of scipy's solves, along lines in logarithms through our own points: what of
ours is nearest in kind, and the default of the library. A call of the field takes torch ten times as long as NumPy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.solvers import Solve, at, measured
from flowops import SolutionOperator, VelocityField

END, START = 20.0, (1.0, 0.0)
OURS, SCIPY = ("dopri5", "tsit5", "dopri8", "dop853"), ("RK45", "DOP853")
PAIRS = {"RK45": ("dopri5", "tsit5", "dopri8"), "DOP853": ("dop853", "dopri8")}


def of_torch(_: Tensor, x: Tensor) -> Tensor:
    """The pendulum for a batch."""
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], 1)


def of_numpy(_: float, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The pendulum for one state."""
    return np.array([x[1], -np.sin(x[0])])


def by_scipy(method: str, tolerance: float) -> np.ndarray[Any, Any]:
    """The end."""
    found: np.ndarray[Any, Any] = solve_ivp(
        of_numpy, (0.0, END), START, method=method, rtol=tolerance, atol=tolerance
    ).y
    return found[:, -1]


def ours(method: str, tolerance: float) -> np.ndarray[Any, Any]:
    """The end."""
    X = SolutionOperator(VelocityField.from_function(of_torch), method=method, rtol=tolerance, atol=tolerance)
    return X(0.0, END, torch.tensor([START]).double())[0].numpy()


def microseconds(call: Callable[[], object], times: int = 2000) -> float:
    """Processor microseconds of a call."""
    start = time.process_time()
    for _ in range(times):
        call()
    return 1e6 * (time.process_time() - start) / times


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    each = parser(__doc__)
    each.add_argument("--rounds", type=int, default=9)
    args = each.parse_args(words)
    rounds = 1 if args.quick else args.rounds
    torch.set_num_threads(1)
    solvers: dict[str, Solve] = {f"flowops {method}": partial(ours, method) for method in OURS}
    solvers |= {f"scipy {method}": partial(by_scipy, method) for method in SCIPY}
    with torch.no_grad():
        found = measured(solvers, by_scipy("DOP853", 3e-14), rounds)
    x, y = torch.tensor([START]).double(), np.array(START)
    calls = microseconds(partial(of_torch, x[:, 0], x)), microseconds(partial(of_numpy, 0.0, y))
    fields = f"A call of the field: {calls[0]:.1f} us in torch, {calls[1]:.1f} us in NumPy."
    tolerances = [f"{point[0]:g}" for point in next(iter(found.values()))]
    times = [[name, *(f"{1000 * t:.1f} ({error:.0e})" for _, t, error in points)] for name, points in found.items()]
    ratios = quotients(found)
    lines = [
        f"{about(f'{rounds} rounds', peers=['scipy'])} {fields}",
        table(["milliseconds (error) at", *tolerances], times),
        table(
            ["at equal error, scipy at", *tolerances],
            [[name, *(f"{ratio:.1f}" for ratio in each)] for name, each in ratios.items()],
        ),
    ]
    headline = [
        Headline(f"a pendulum, {name}, at equal error", f"{min(each):.1f} to {max(each):.1f}", "5")
        for name, each in ratios.items()
    ]
    publish(args, "One small sample", __doc__, lines, headline)


def quotients(found: dict[str, list[tuple[float, ...]]]) -> dict[str, list[float]]:
    """Of each of ours and each of scipy's: the time over scipy's at the errors of scipy."""
    return {
        f"flowops {method} / scipy {peer}": [
            at(found[f"flowops {method}"], error) / t for _, t, error in found[f"scipy {peer}"]
        ]
        for peer, methods in PAIRS.items()
        for method in methods
    }


if __name__ == "__main__":
    main()

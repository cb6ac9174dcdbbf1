"""One small sample: a pendulum from 0 to 20 by ours, field in torch, and by scipy, field in NumPy.

    OMP_NUM_THREADS=1 taskset -c 0 python -m experiments.benchmarks.small --write experiments/results/small.md

The times are processor milliseconds, the median of interleaved rounds, with the error of the end in brackets. Below
stand the quotients of times at the errors of scipy's solves, along lines in logarithms through our own points: what of
ours is nearest in kind, and the default of the library. A call of the field takes torch ten times as long as NumPy.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

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


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", type=Path, help="a Markdown file; the terminal if left out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    solvers: dict[str, Solve] = {f"flowops {method}": partial(ours, method) for method in OURS}
    solvers |= {f"scipy {method}": partial(by_scipy, method) for method in SCIPY}
    with torch.no_grad():
        found = measured(solvers, by_scipy("DOP853", 3e-14), args.rounds)
    x, y = torch.tensor([START]).double(), np.array(START)
    calls = microseconds(partial(of_torch, x[:, 0], x)), microseconds(partial(of_numpy, 0.0, y))
    cpu = platform.processor() or platform.machine()
    fields = f"A call of the field: {calls[0]:.1f} us in torch, {calls[1]:.1f} us in NumPy."
    about = f"{args.rounds} rounds, torch {torch.__version__}, one thread of {cpu}. {fields}"
    text = "\n".join(
        ["# One small sample", "", (__doc__ or "").split("\n\n", 2)[2].strip(), "", about, "", *rows(found)]
    )
    if args.write:
        args.write.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def rows(found: dict[str, list[tuple[float, ...]]]) -> list[str]:
    """Both tables."""
    tolerances = [f"{point[0]:g}" for point in next(iter(found.values()))]
    lines = [f"| milliseconds (error) at | {' | '.join(tolerances)} |", "|---" * (1 + len(tolerances)) + "|"]
    for name, points in found.items():
        lines.append(f"| {name} | {' | '.join(f'{1000 * t:.1f} ({error:.0e})' for _, t, error in points)} |")
    lines += ["", f"| at equal error, scipy at | {' | '.join(tolerances)} |", "|---" * (1 + len(tolerances)) + "|"]
    for peer, methods in PAIRS.items():
        for method in methods:
            cells = [f"{at(found[f'flowops {method}'], error) / t:.1f}" for _, t, error in found[f"scipy {peer}"]]
            lines.append(f"| flowops {method} / scipy {peer} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()

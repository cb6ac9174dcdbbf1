"""Stiff equations: ours by Rodas5P beside scipy's Radau and BDF, processor time of one process.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.stiff --write experiments/results/stiff.md

Problems of Hairer and Wanner (Solving ODEs II, §IV.1 and §IV.10), one sample each, and a batch of Van der Pol equations
with mu from 10 to 1,000, which scipy solves one after the other. The field is in torch for ours and in numpy for scipy,
whose Jacobians are differences. The relative tolerance is given, the absolute one is a ten-thousandth of it; the error
is that of the worst component relative to its size, against Radau at 1e-12. Rounds are interleaved; a time is the
median of processor seconds; steps are those tried, for scipy its LUs. The last column is the time at an error of 1e-6,
along the line in logarithms through the two nearest points, over that of the best of scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.solvers import at
from experiments.benchmarks.timing import medians
from experiments.equations import Slopes, van_der_pol
from experiments.equations import field as equation
from flowops import SolutionOperator, VelocityField

WANTED = 1e-6
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7)
Array = np.ndarray[Any, Any]
Point = tuple[float, float, float, int]
"""Tolerance, processor seconds, worst error, steps."""


@dataclass(frozen=True)
class Problem:
    """An autonomous equation of numbers, or of tensors by columns, from time 0 to `end`."""

    slopes: Slopes
    x: tuple[float, ...]
    end: float

    @property
    def field(self) -> VelocityField:
        """The equation for a batch."""
        return equation(self.slopes)

    def by_scipy(self, method: str, rtol: float, atol: float) -> tuple[Array, int]:
        """The end, and the number of steps."""
        found = solve_ivp(
            lambda _, y: self.slopes(*y), (0, self.end), self.x, method=method, rtol=rtol, atol=atol, t_eval=[self.end]
        )
        return found.y[:, -1], found.nlu


def robertson(x: Any, y: Any, z: Any) -> list[Any]:
    """Three reactions with rates from 0.04 to 3e7."""
    slow, fast, square = 0.04 * x, 1e4 * y * z, 3e7 * y * y
    return [fast - slow, slow - fast - square, square]


def oregonator(x: Any, y: Any, z: Any) -> list[Any]:
    """The reaction of Belousov and Zhabotinskii."""
    return [77.27 * (y + x * (1 - 8.375e-6 * x - y)), (z - (1 + x) * y) / 77.27, 0.161 * (x - z)]


def hires(*y: Any) -> list[Any]:
    """The high irradiance response of plants: eight reactions."""
    a, b, c, d, e, f, g, h = y
    return [
        -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
        1.71 * a - 8.75 * b,
        -10.03 * c + 0.43 * d + 0.035 * e,
        8.32 * b + 1.71 * c - 1.12 * d,
        -1.745 * e + 0.43 * f + 0.43 * g,
        -280 * f * h + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
        280 * f * h - 1.81 * g,
        -280 * f * h + 1.81 * g,
    ]


PROBLEMS = {
    "van der pol 50": Problem(van_der_pol(50.0), (2.0, 0.0), 100.0),
    "van der pol 1000": Problem(van_der_pol(1000.0), (2.0, 0.0), 2000.0),
    "robertson": Problem(robertson, (1.0, 0.0, 0.0), 1e5),
    "oregonator": Problem(oregonator, (1.0, 2.0, 3.0), 360.0),
    "hires": Problem(hires, (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057), 321.8122),
}


class Oscillators(VelocityField):
    """Van der Pol's equation with a `mu` for every sample."""

    def forward(self, t: torch.Tensor, x: torch.Tensor, *, mu: torch.Tensor) -> torch.Tensor:
        return torch.stack(van_der_pol(mu)(*x.unbind(1)), 1)


Solve = Callable[[float], tuple[Array, int]]
"""The ends and the steps, of a tolerance."""


def ours(b: VelocityField, t: torch.Tensor, x: torch.Tensor, method: str, tolerance: float) -> tuple[Array, int]:
    """The ends of a batch from time 0."""
    X = SolutionOperator(b, method=method, rtol=tolerance, atol=1e-4 * tolerance, max_steps=10**6)
    value, work = X.solve(0.0, t, x)
    return value.numpy(), int((work.steps + work.rejected).sum())


def theirs(problems: list[Problem], method: str, tolerance: float) -> tuple[Array, int]:
    """The ends of problems one after the other; steps are counted by LU."""
    ends, steps = zip(*(p.by_scipy(method, tolerance, 1e-4 * tolerance) for p in problems), strict=True)
    return np.stack(ends), sum(steps)


def solvers(problems: list[Problem], b: VelocityField) -> dict[str, Solve]:
    """Ours and scipy's for problems of which `b` is the batch."""
    x = torch.tensor([problem.x for problem in problems], dtype=torch.float64)
    t = torch.tensor([problem.end for problem in problems], dtype=torch.float64)
    every: dict[str, Solve] = {"flowops rodas5p": partial(ours, b, t, x, "rodas5p")}
    return every | {f"scipy {method}": partial(theirs, problems, method) for method in ("Radau", "BDF")}


def measured(every: Mapping[str, Solve], truth: Array, rounds: int) -> dict[str, list[Point]]:
    """The points of each solver."""
    found: dict[str, list[Point]] = {name: [] for name in every}
    for tolerance in TOLERANCES:
        seconds = medians({name: partial(solve, tolerance) for name, solve in every.items()}, rounds)
        for name, solve in every.items():
            ends, steps = solve(tolerance)
            error = float((np.abs(ends - truth) / np.abs(truth)).max())
            found[name].append((tolerance, seconds[name].processor, error, steps))
    return found


def ratio(found: Mapping[str, list[Point]], name: str) -> float:
    """The seconds of a solver at the wanted error over those of the best of scipy."""
    times = {other: at([tuple(point[:3]) for point in points], WANTED) for other, points in found.items()}
    return times[name] / min(seconds for other, seconds in times.items() if other.startswith("scipy"))


def rows(title: str, found: Mapping[str, list[Point]]) -> list[list[str]]:
    """The rows of a problem."""
    lines = []
    for name, points in found.items():
        cells = [f"{1000 * seconds:.0f} ({error:.0e}, {steps})" for _, seconds, error, steps in points]
        lines.append([title, name, *cells, f"{ratio(found, name):.2f}"])
    return lines


def oscillators(number: int) -> tuple[list[Problem], VelocityField]:
    """Van der Pol's equations for `number` values of mu, over two times as long as mu."""
    values = torch.logspace(1, 3, number, dtype=torch.float64)
    return [Problem(van_der_pol(mu), (2.0, 0.0), 2 * mu) for mu in values.tolist()], Oscillators().given(mu=values)


def main(words: Sequence[str] | None = None) -> None:
    """Print the page, or write it."""
    arguments = parser(__doc__)
    arguments.add_argument("--samples", type=int, default=16)
    arguments.add_argument("--rounds", type=int, default=3)
    args = arguments.parse_args(words)
    names = ["robertson"] if args.quick else list(PROBLEMS)
    samples, rounds = (2, 1) if args.quick else (args.samples, args.rounds)
    torch.set_num_threads(1)
    batches = {name: ([PROBLEMS[name]], PROBLEMS[name].field, rounds) for name in names}
    batch = f"{samples} oscillators"
    batches[batch] = (*oscillators(samples), 1)
    lines: list[list[str]] = []
    headline: list[Headline] = []
    with torch.no_grad():
        for name, (problems, b, times) in batches.items():
            truth = np.stack([problem.by_scipy("Radau", 1e-12, 1e-15)[0] for problem in problems])
            found = measured(solvers(problems, b), truth, times)
            lines += rows(name, found)
            quotient = f"{ratio(found, 'flowops rodas5p'):.2f}"
            headline.append(Headline(f"{name}, an error of {WANTED:g}: rodas5p over the best of scipy", quotient))
    head = ["", "milliseconds (error, steps) at", *(f"{tolerance:g}" for tolerance in TOLERANCES), "over scipy"]
    where = about(f"{rounds} rounds, one of the batch", peers=["scipy"])
    publish(args, "Work and precision on stiff equations", __doc__, [table(head, lines), where], headline)


if __name__ == "__main__":
    main()

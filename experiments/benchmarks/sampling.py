"""A map in k steps beside solvers of its own field at equal distance to the data: calls of the network and time.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.sampling --run runs/checkerboard

A map of the checkerboard, that of a run or one trained for `--steps`, carries the same base samples as dopri5, Heun,
RK4 and DPM-Solver++(2M) along its own field $v_{t,t}$. The distance is the KL divergence on 48 x 48 cells, which exact
samples of that number have too. A solver is tried at several numbers of steps or tolerances; told is the cheapest one
that is as near as the map, to the two per cent that the samples leave open, and nothing where none of them is. Times
are medians of processor seconds over interleaved rounds on fewer samples.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from experiments._board import kl_48
from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.timing import Seconds, medians
from experiments.checkerboard import CONFIG
from flowops import Run, problems, train
from flowops.maps import SolverStep
from flowops.pictures import new_figure, save_figure
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig
from flowops.sampling.cost import CountedField, per_sample
from flowops.sampling.grids import uniform

STEPS = (1, 2, 4, 8)
TRIED: dict[str, Sequence[float]] = {
    "dopri5": (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3),
    "heun": (1, 2, 3, 4, 6, 8, 12, 16),
    "rk4": (1, 2, 3, 4, 6, 8),
    "dpm-solver": (2, 4, 6, 8, 12, 16, 24, 32),
}
"""Steps of the solvers on a grid, tolerances of the adaptive one."""
NOISE = 1.02

Sample = Callable[[int], tuple[Tensor, float]]
"""So many samples, and the calls that each took."""


@dataclass(frozen=True)
class Point:
    """A sampler at one setting: distance of its samples, calls and seconds of each."""

    setting: float
    distance: float
    calls: float
    seconds: float


def samplers(run: Run, most: int) -> Iterator[tuple[tuple[str, float], Sample]]:
    """The map and the solvers, each at several settings; the base samples are the first of `most`."""
    base = run.base(most)

    def along(name: str, setting: float, n: int) -> tuple[Tensor, float]:
        x0 = base[:n]
        if name == "map":
            drawn = run.draw(n, steps=int(setting), x0=x0)
        elif name == "dopri5":
            drawn = run.solve(n, method=name, tolerance=setting, x0=x0)
        elif name == "rk4":
            return runge_kutta(run, int(setting), x0)
        else:
            drawn = run.solve(n, method=name, steps=int(setting), x0=x0)
        return drawn.x, drawn.calls

    for name, settings in {"map": STEPS, **TRIED}.items():
        for setting in settings:
            yield (name, setting), lambda n, name=name, setting=setting: along(name, setting, n)  # type: ignore[misc]


@torch.no_grad()
def runge_kutta(run: Run, steps: int, x0: Tensor) -> tuple[Tensor, float]:
    """The classical method of order four on equal steps."""
    field = CountedField(run.X.velocity())
    return SolverStep(field, "rk4").compose(uniform(steps), x0), per_sample(field.count, x0)


def measured(run: Run, args: argparse.Namespace) -> dict[str, list[Point]]:
    """Distance on many samples, time on fewer."""
    every = dict(samplers(run, args.samples))
    distance = kl_48(torch.empty(0))
    for sample in every.values():
        sample(args.timed)  # the first calls are others
    times: dict[tuple[str, float], Seconds] = medians(
        {key: lambda sample=sample: sample(args.timed) for key, sample in every.items()},  # type: ignore[misc]
        args.rounds,
    )
    found: dict[str, list[Point]] = {}
    for (name, setting), sample in every.items():
        x, calls = sample(args.samples)
        seconds = times[name, setting].processor / args.timed
        found.setdefault(name, []).append(Point(setting, distance(x.cpu()), calls, seconds))
    return found


def cheapest(points: Sequence[Point], distance: float) -> Point | None:
    """The fastest of these that is as near as `distance`, if one is."""
    return min(
        (each for each in points if each.distance <= NOISE * distance), key=lambda each: each.seconds, default=None
    )


def equal(found: dict[str, list[Point]]) -> str:
    """The table at equal distance."""
    rows = []
    for own in found["map"]:
        cells = [f"{own.setting:g}", f"{own.distance:.3f}", f"{1e6 * own.seconds:.1f}"]
        for name in TRIED:
            other = cheapest(found[name], own.distance)
            cells.append("" if other is None else f"{other.calls:.1f}, {other.seconds / own.seconds:.1f}")
        rows.append(cells)
    return table(("calls of the map", "KL", "µs a sample", *(f"{name}: calls, time / map" for name in TRIED)), rows)


def tried(found: dict[str, list[Point]]) -> str:
    """All that was measured."""
    rows = [
        (name, f"{each.setting:g}", f"{each.distance:.3f}", f"{each.calls:.1f}", f"{1e6 * each.seconds:.1f}")
        for name, points in found.items()
        for each in points
    ]
    return table(("sampler", "steps or tolerance", "KL", "calls", "µs a sample"), rows)


def picture(path: Path, found: dict[str, list[Point]], floor: float) -> None:
    """Distance over time, one line for each sampler."""
    figure = new_figure(5.5, 4.0)
    axes = figure.subplots()
    for name, points in found.items():
        style = {"color": "black", "marker": "s", "linewidth": 2.0} if name == "map" else {"marker": "."}
        axes.loglog([1e6 * each.seconds for each in points], [each.distance for each in points], label=name, **style)
    axes.axhline(floor, color="grey", linestyle="--", linewidth=0.8, label="exact samples")
    axes.set(xlabel="processor time of a sample, µs", ylabel="KL on 48 x 48 cells")
    axes.legend()
    save_figure(path, figure)


def trained(args: argparse.Namespace, folder: str) -> Run:
    """A map of the checkerboard after so many steps on independent pairs."""
    config = replace(
        CONFIG, dataset="checkerboard", minutes=0.0, steps=args.steps, out=folder,
        hardware=HardwareConfig(compile="no"), log=LogConfig(progress=False, sample_every=0),
    )  # fmt: skip
    if args.quick:
        config = replace(config, batch=64, network=NetworkConfig("mlp", width=16, depth=1), optimizer=OptimizerConfig())
    return train(config, resume=True)


def headlines(found: dict[str, list[Point]]) -> list[Headline]:
    """What one and two steps of the map save, and how near the map comes."""
    lines = []
    for own in found["map"]:
        others = [(cheapest(found[name], own.distance), name) for name in TRIED]
        reached = [(other.seconds / own.seconds, other.calls, name) for other, name in others if other is not None]
        saved = "no solver tried is as near"
        if reached:
            ratio, calls, name = min(reached)
            saved = f"{ratio:.1f} times the time ({name}, {calls:.1f} calls)"
        lines.append(Headline(f"map in {own.setting:g} steps, KL {own.distance:.3f}: best solver at that", saved))
    return lines


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    each = parser(__doc__)
    each.add_argument("--run", help="folder of a finished run on the checkerboard; else one is trained")
    each.add_argument("--steps", type=int, default=1_500, help="of the training")
    each.add_argument("--samples", type=int, default=32_000, help="of which the distance is taken")
    each.add_argument("--timed", type=int, default=2_000, help="that are timed")
    each.add_argument("--rounds", type=int, default=5)
    args = each.parse_args(words)
    if args.quick:
        args.samples, args.timed, args.rounds, args.steps = 2_000, 50, 1, 5
    with tempfile.TemporaryDirectory() as folder:
        run = Run.load(args.run) if args.run else trained(args, folder)
        found = measured(run, args)
        exact = problems.checkerboard(run.interpolant).sample_data(
            args.samples, generator=torch.Generator().manual_seed(0)
        )
        floor = kl_48(exact)(exact)
        of = f"Map of `{run.config.method}` after {run.step:,} steps"
    size = f"{args.samples:,} samples for the distance, {args.timed:,} timed, {args.rounds} rounds"
    lines = [about(of, size), f"Exact samples of that number have the distance {floor:.3f}."]
    if args.write:
        picture(args.write.with_suffix(".png"), found, floor)
        lines.append(f"![distance over time]({args.write.stem}.png)")
    parts = [*lines, f"## At equal distance\n\n{equal(found)}", f"## All that was tried\n\n{tried(found)}"]
    publish(args, "Samples of a map and of solvers of its field", __doc__, parts, headlines(found))


if __name__ == "__main__":
    main()

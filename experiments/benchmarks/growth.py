"""Cost against dimension, batch, steps, size of images and number of processes, with fitted exponents.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.growth --write experiments/results/growth.md

Every line is one thing at several sizes that take turns, in medians of processor seconds; its exponent is the slope in
logarithms by least squares over all sizes, so that a fixed cost shows as an exponent below that of the work; that of
the two largest sizes stands beside it. The processes are those of `experiments.benchmarks.scaling`, which draw their
rows of a joint batch that grows with them: the seconds are those of one process.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.benchmarks import scaling
from experiments.benchmarks.methods import I, Trainer
from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.timing import exponent, medians
from experiments.benchmarks.unet import ImageTrainer
from flowops import LearnedMap, SolutionOperator, problems
from flowops.methods import METHODS
from flowops.networks import MLP
from flowops.pictures import new_figure, save_figure
from flowops.sampling.grids import uniform

SOLVED = 256  # samples of a solve


class Line(NamedTuple):
    """What grows, in what, and its work at each size."""

    what: str
    size: str
    works: Mapping[int, Callable[[], object]]


def mixture(d: int, n: int) -> tuple[SolutionOperator, Tensor]:
    """The map of a mixture of four modes in d dimensions, and states at time 0."""
    generator = torch.Generator().manual_seed(0)
    means = 4 * torch.randn(4, d, generator=generator, dtype=torch.float64) / math.sqrt(d)
    target = problems.gaussian_mixture(torch.full((4,), 0.25, dtype=torch.float64), means, 0.09, I)
    return SolutionOperator(target.b), torch.randn(n, d, generator=generator, dtype=torch.float64)


def solve(d: int, n: int) -> Callable[[], object]:
    """Carry the samples from 0 to 1."""
    X, x = mixture(d, n)
    return partial(X, 0.0, 1.0, x)


def determinant(d: int, n: int) -> Callable[[], object]:
    """The logarithm of the determinant of the map's derivative."""
    X, x = mixture(d, n)
    return partial(X.log_abs_det, 0.0, 1.0, x)


def sample(steps: int, n: int) -> Callable[[], object]:
    """Samples of a perceptron's map in so many steps."""
    X, x = LearnedMap(MLP(2, generator=torch.Generator().manual_seed(0))), torch.zeros(n, 2)
    return lambda: X.compose(uniform(steps), x)


def lines(quick: bool) -> list[Line]:
    """All of them but the processes."""
    few, n = (2, 4), 16 if quick else SOLVED
    dimensions = few if quick else (2, 8, 32, 128)
    batches = few if quick else (256, 1024, 4096, 16384)
    width, images = (8, (8, 16)) if quick else (256, (8, 16, 32, 64))
    fm, lsd = METHODS["fm"], METHODS["lsd"]
    return [
        Line("solve of a mixture", "dimension", {d: solve(d, n) for d in dimensions}),
        Line("its determinant", "dimension", {d: determinant(d, 16) for d in (few if quick else (2, 4, 8, 16))}),
        Line("solve of a planar mixture", "batch", {k: solve(2, k) for k in batches}),
        Line("step of `lsd`, perceptron", "batch", {k: Trainer(lsd, k, width, 4, False).step for k in batches}),
        Line("samples of a map", "steps", {k: sample(k, n) for k in (few if quick else (1, 2, 4, 8, 16))}),
        Line("step of `fm`, U-Net", "side of an image", {k: ImageTrainer(fm, 2, k, False).step for k in images}),
    ]  # fmt: skip


def measured(line: Line, rounds: int) -> dict[int, float]:
    """Processor seconds by size, after one turn that is not counted."""

    def quietly(work: Callable[[], object]) -> Callable[[], object]:
        return torch.no_grad()(work) if not line.what.startswith("step") else work

    works = {size: quietly(work) for size, work in line.works.items()}
    for work in works.values():
        work()
    return {size: seconds.processor for size, seconds in medians(works, rounds).items()}


def processes(args: argparse.Namespace) -> dict[int, float]:
    """Processor seconds of the draws of one process of several."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scaling.write_images(folder / "images.npy", args.images)
        found = {count: scaling.run(count, folder, args) for count in args.processes}
    return {count: statistics.mean(each[False].drawing for each in costs) for count, costs in found.items()}


def picture(path: Path, found: Mapping[tuple[str, str], Mapping[int, float]]) -> None:
    """Seconds over size, each in units of its first size."""
    figure = new_figure(6.5, 4.2)
    axes = figure.subplots()
    for (what, size), seconds in found.items():
        sizes, values = list(seconds), list(seconds.values())
        label = f"{what.replace('`', '')}, {size}: {exponent(sizes, values):.2f}"
        axes.loglog([k / sizes[0] for k in sizes], [v / values[0] for v in values], marker=".", label=label)
    axes.loglog((1, 64), (1, 64), color="grey", linestyle="--", linewidth=0.8, label="proportional")
    axes.set(xlabel="size over the smallest", ylabel="processor time over that of the smallest")
    axes.legend(fontsize=7, title="exponents", title_fontsize=7)
    save_figure(path, figure)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = parser(__doc__)
    each.add_argument("--rounds", type=int, default=5)
    each.add_argument(
        "--processes", type=int, nargs="*", default=[1, 2, 4], help="two numbers or more; none to leave out"
    )
    args = each.parse_args(words)
    args.batch, args.steps, args.images, args.coupling = 128, 20, 20_000, "independent"
    if args.quick:
        args.rounds, args.batch, args.steps, args.images, args.processes = 1, 8, 2, 100, args.processes[:2]
    found = {(line.what, line.size): measured(line, args.rounds) for line in lines(args.quick)}
    if args.processes:
        found["draws of one process", "processes"] = processes(args)
    rows, headline = [], []
    for (what, size), seconds in found.items():
        slope, last = (f"{exponent(list(seconds)[k:], list(seconds.values())[k:]):.2f}" for k in (0, -2))
        cells = ", ".join(f"{1e3 * value:.1f} ({k:,})" for k, value in seconds.items())
        rows.append((what, size, slope, last, cells))
        headline.append(Headline(f"{what} against {size}: exponent, at the end", f"{slope}, {last}"))
    text = [
        about(f"{args.rounds} rounds"),
        table(("what", "against", "exponent", "of the last two", "milliseconds (size)"), rows),
    ]
    if args.write:
        picture(args.write.with_suffix(".png"), found)
        text.insert(1, f"![cost against size]({args.write.stem}.png)")
    publish(args, "How cost grows", __doc__, text, headline)


if __name__ == "__main__":
    main()

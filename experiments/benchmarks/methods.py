"""Cost of a training step of every method relative to flow matching, eager and compiled, on one network and batch.

    GOMP_SPINCOUNT=0 OMP_NUM_THREADS=1 python -m experiments.benchmarks.methods --write experiments/results/methods.md

A step is draw, loss, backward and fused Adam. All variants run interleaved in one process; the ratios are those of
median processor seconds, and their unit is the eager `fm` of the same run. Memory is the peak of what a loss and its
backward pass allocate, in the same unit. The default batch has 75 % of its rows on the diagonal where the method has a
diagonal (`ctm`: 50 %); `eta=0` is the whole batch off it. `reflow` and `regression` were given a map as teacher, so no
equation is solved in them.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.timing import medians
from flowops import FlowMap, LearnedMap, VelocityField, interpolants, problems
from flowops.maps import LearnedJointMap
from flowops.methods import METHODS, Method, get_method
from flowops.networks import MLP

I = interpolants.linear()
GOALS = {
    ("meanflow", True): "1.2",
    ("meanflow, eta=0", True): "1.45",
    ("meanflow, eta=0", False): "2.4",
    ("psd-m, eta=0", True): "1.7",
    ("psd-m, eta=0", False): "2.1",
    ("lsd", True): "1.40",
    ("lsd, eta=0", True): "2.4",
    ("emd", True): "2.6",
    ("lmd", True): "2.9",
}
"""Rows, compiled or not, and the most that they should cost in units of the eager `fm`."""


def variants(names: list[str]) -> dict[str, Method]:
    """Every row with its defaults, and those with a diagonal also without it."""
    chosen = {name: METHODS[name] for name in names}
    split = [name for name in names if any(option.name == "eta" for option in METHODS[name].row.options)]
    whole = {f"{name}, eta=0": get_method(name, eta=0.0) for name in split}
    return {"fm": METHODS["fm"], **chosen, **whole}


class Trainer:
    """One network and its optimizer, the same for every variant."""

    def __init__(
        self, method: Method, batch: int, width: int, depth: int, compiled: bool, activation: str = "gelu"
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        kind, network = LearnedJointMap if method.joint else LearnedMap, partial(MLP, 2, width=width, depth=depth)
        self.X, previous = (
            kind(network(activation=activation, log_det=method.joint, generator=generator)) for _ in range(2)
        )
        self.method, self.teacher = method, _teacher(method, previous.requires_grad_(False))
        self.optimizer = torch.optim.Adam(self.X.parameters(), 1e-4, fused=True)
        target = problems.checkerboard(I)
        self.x0, self.x1 = (
            target.sample_base(batch, generator=generator),
            target.sample_data(batch, generator=generator),
        )
        self.generator = generator
        self.evaluate = method.compiled() if compiled else method.evaluate

    def loss(self) -> Tensor:
        """Draw and evaluate."""
        draw = self.method.draw(self.X, I, self.x0, self.x1, teacher=self.teacher, generator=self.generator)
        return self.evaluate(self.X, I, draw, teacher=self.teacher).loss

    def step(self) -> None:
        """One training step."""
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak(self) -> int:
        """Bytes allocated at the worst moment of one loss and its backward pass."""
        self.optimizer.zero_grad()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.loss().backward()
        changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        changes.sort(key=lambda event: event.start_ns())
        return max(itertools.accumulate(event.nbytes() for event in changes))


def _teacher(method: Method, previous: FlowMap) -> VelocityField | FlowMap | None:
    kind = method.row.teacher.removeprefix("optional ")
    return {"": None, "field": previous.velocity(), "map": previous, "field or map": previous}[kind]


Costs = dict[tuple[str, bool], tuple[float, float]]
"""Of a row, eager or compiled: processor seconds of a step, bytes."""


def measured(trainers: Mapping[tuple[str, bool], Trainer], rounds: int) -> Costs:
    """Time and memory of every trainer, after two steps that are not counted.

    Rows that solve an ODE are compiled last: they are cut into pieces, and the compiler cuts all that come later.
    """
    peaks = {}
    for key, trainer in sorted(trainers.items(), key=lambda each: each[1].method.solves):
        print(f"preparing {key[0]}{', compiled' if key[1] else ''}", file=sys.stderr, flush=True)
        trainer.step()
        trainer.step()
        peaks[key] = float(trainer.peak())
    gc.collect()
    times = medians({key: trainer.step for key, trainer in trainers.items()}, rounds)
    return {key: (times[key].processor, peaks[key]) for key in trainers}


def rows(found: Costs) -> str:
    """The table, in units of the eager `fm`."""
    unit = found["fm", False]

    def cell(name: str, which: int, compiled: bool) -> str:
        key = (name, compiled)
        return f"{found[key][which] / unit[which]:.2f}" if key in found else ""

    head = ("method", "time eager", "time compiled", "memory eager", "memory compiled")
    columns = [(which, compiled) for which in (0, 1) for compiled in (False, True)]
    names = dict.fromkeys(name for name, _ in found)
    return table(head, [(f"`{name}`", *(cell(name, *column) for column in columns)) for name in names])


def headlines(found: Costs, goals: Mapping[tuple[str, bool], str], network: str) -> list[Headline]:
    """Those rows of which something is wanted."""
    unit = found["fm", False]
    return [
        Headline(
            f"step of `{name}`, {network}, {'compiled' if compiled else 'eager'}: time / eager `fm`",
            f"{found[name, compiled][0] / unit[0]:.2f}",
            wanted,
        )
        for (name, compiled), wanted in goals.items()
        if (name, compiled) in found
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = parser(__doc__)
    each.add_argument("--methods", nargs="+", choices=list(METHODS), metavar="NAME", default=list(METHODS))
    each.add_argument("--batch", type=int, default=4096)
    each.add_argument("--width", type=int, default=512)
    each.add_argument("--depth", type=int, default=4)
    each.add_argument("--rounds", type=int, default=7)
    each.add_argument("--eager", action="store_true", help="leave the compiled variants out")
    args = each.parse_args(words)
    if args.quick:
        args.batch, args.width, args.depth, args.rounds, args.eager = 64, 8, 1, 1, True
    trainers = {
        (name, compiled): Trainer(method, args.batch, args.width, args.depth, compiled)
        for name, method in variants(args.methods).items()
        for compiled in ((False,) if args.eager else (False, True))
    }
    found = measured(trainers, args.rounds)
    size = f"Batch {args.batch}, perceptron 2-{args.width}x{args.depth}-2, {args.rounds} rounds, seed 0"
    compared = table(("", "measured", "wanted"), lines := headlines(found, GOALS, "perceptron"))
    publish(args, "Cost of a training step of every method", __doc__, [about(size), rows(found), compared], lines)


if __name__ == "__main__":
    main()

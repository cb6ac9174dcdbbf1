"""Cost of a training step of every method relative to flow matching, eager and compiled, on one network and batch.

    GOMP_SPINCOUNT=0 python -m experiments.benchmarks.methods

A step is draw, loss, backward and fused Adam. All variants run interleaved in one process; the ratios are medians over
rounds, and their unit is the eager `fm` of the same run. Memory is the peak of what a loss and its backward pass
allocate, in the same unit. `eta` is the fraction of the batch on the diagonal; rows without one see the whole batch.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os

import torch
from torch import Tensor

from experiments.benchmarks.timing import median_times
from flowops import FlowMap, LearnedMap, VelocityField, interpolants, problems
from flowops.methods import METHODS, Method, get_method
from flowops.networks import MLP

I = interpolants.linear()


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
        self.X, previous = (
            LearnedMap(MLP(2, width=width, depth=depth, activation=activation, generator=generator)) for _ in range(2)
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


def measure(args: argparse.Namespace) -> list[str]:
    """The rows of the table."""
    chosen = variants(args.methods or list(METHODS))
    trainers = {
        (name, compiled): Trainer(method, args.batch, args.width, args.depth, compiled)
        for name, method in chosen.items()
        for compiled in ((False,) if args.eager else (False, True))
    }
    peaks = {}
    for key, trainer in trainers.items():
        print(f"preparing {key[0]}{', compiled' if key[1] else ''}", flush=True)
        trainer.step()
        trainer.step()
        peaks[key] = trainer.peak()
    gc.collect()
    times = median_times({key: trainer.step for key, trainer in trainers.items()}, args.rounds)
    unit = ("fm", False)

    def cell(values: dict, key: tuple[str, bool], base: float) -> str:
        return f"{values[key] / base:.2f}" if key in trainers else ""

    return [
        f"| `{name}` | "
        + " | ".join(
            cell(v, (name, c), v[unit]) for v, c in ((times, False), (times, True), (peaks, False), (peaks, True))
        )
        + " |"
        for name in chosen
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), metavar="NAME")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--eager", action="store_true", help="leave the compiled variants out")
    args = parser.parse_args()
    with torch._dynamo.config.patch(recompile_limit=256):  # every row compiles the same code object
        rows = measure(args)
    print(
        f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()}, batch {args.batch}, MLP "
        f"2-{args.width}x{args.depth}-2, {args.rounds} rounds, seed 0\n"
    )
    print("| method | time eager | time compiled | memory eager | memory compiled |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()

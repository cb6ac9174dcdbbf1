"""Time ratios that a change should not make larger, against the committed runs: a guard of three minutes at most.

    python -m experiments.benchmarks.quick                     # compare; the exit status is 1 if a ratio grew
    python -m experiments.benchmarks.quick --write             # add this run to the committed ones, of which five stay
    python -m experiments.benchmarks.quick --write --fresh --runs 5   # forget these, where a change is wanted

All of it runs on one core in one process, interleaved, in medians of processor seconds. A ratio may exceed the largest
of the committed runs by their spread, and by a tenth of their median at least: counts of calls and kernels, which noise
cannot move, are asserted in the tests, and this is for what they do not see.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks import startup
from experiments.benchmarks.methods import Trainer
from experiments.benchmarks.page import about, table
from experiments.benchmarks.solution_operator import bare, ring
from experiments.benchmarks.timing import medians, pin
from flowops import LearnedMap, SolutionOperator
from flowops._files import write_text
from flowops.data import open_dataset
from flowops.methods import get_method
from flowops.runs import TrainConfig
from flowops.runs.assembly import assemble, completed
from flowops.training.joint_batch import JointBatches
from flowops.training.loss_module import LossModule
from flowops.training.telemetry import Telemetry

FILE = Path(__file__).parents[1] / "results" / "quick.json"
KEPT = 5
LEAST = 0.1  # of the median of the committed runs: the margin where these agree better than that

Ratios = dict[str, float]
Pair = tuple[Callable[[], object], Callable[[], object]]


def steps(batch: int, width: int, compiled: bool) -> dict[str, Pair]:
    """Steps of three rows on the whole batch, over eager flow matching."""
    unit = Trainer(get_method("fm"), batch, width, 4, False, "silu").step
    word = "compiled" if compiled else "eager"
    return {
        f"step of {name}, {word} / fm, eager": (
            Trainer(get_method(name, eta=0.0), batch, width, 4, compiled, "silu").step,
            unit,
        )
        for name in ("lsd", "meanflow", "psd-m")
    }


def solves(n: int) -> dict[str, Pair]:
    """A solve of a planar mixture over one bare call of torchdiffeq, and its derivative over the solve."""
    generator, target = torch.Generator().manual_seed(0), ring()
    s, t = torch.rand(2, n, generator=generator, dtype=torch.float64)
    x = target.sample(s, n, generator=generator, dtype=torch.float64)
    u = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    X = SolutionOperator(target.b, rtol=1e-9, atol=1e-9)
    quiet = torch.no_grad()
    solve, derivative = quiet(partial(X, s, t, x)), quiet(partial(X.jvp, s, t, x, u))
    return {
        "solve, dopri8 at 1e-9 / torchdiffeq's dopri5": (solve, quiet(partial(bare, target.b, s, t, x))),
        "jvp of a solve / the solve": (derivative, solve),
    }


def digits() -> dict[str, Pair]:
    """What a step of the digits spends beside its loss, its gradient and its update, over these."""
    config, data = TrainConfig("digits", method="lsd"), open_dataset("digits")
    config = completed(config, data.defaults, data.event)
    made = assemble(config, torch.device("cpu"), dataset=data)
    module = LossModule(LearnedMap(made.network), made.method, made.interpolant).train()
    optimizer, telemetry = torch.optim.Adam(module.parameters(), 1e-4, fused=True), Telemetry()
    batches = JointBatches(config.batch or 64, 0, made, module, torch.device("cpu"), 0)
    batches.close()  # nothing ahead of time here
    batch = batches.prepare(0)()
    draw = batches.draw(batch, 0)
    result = module(draw)

    def beside() -> None:
        batches.draw(batch, 0)
        telemetry.add(result.s, result.t, result.per_sample)

    def step() -> None:
        module(draw).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return {"draw and telemetry / step of the digits": (beside, step)}


def measured(pairs: Mapping[str, Pair], rounds: int) -> Ratios:
    """The ratios; every variant has been called before."""
    works = {work for pair in pairs.values() for work in pair}
    seconds = medians({work: work for work in works}, rounds)
    return {name: seconds[above].processor / seconds[below].processor for name, (above, below) in pairs.items()}


def started(rounds: int) -> Ratios:
    """The import of flowops over that of torch, and the help of the command line over it."""
    found = startup.measured(rounds, ("import torch", "import flowops", "flowops --help"))
    return {
        f"{name} / import torch": found[name].processor / found["import torch"].processor
        for name in ("import flowops", "flowops --help")
    }


def runs_of(args: argparse.Namespace) -> list[Ratios]:
    """So many runs in one process, which compiles once."""
    size = (8, 8, False) if args.tiny else (1024, 256, True)
    groups = [(steps(*size), 30), (solves(4 if args.tiny else 1000), 9), (digits(), 60)]
    for pairs, _ in groups:
        for pair in pairs.values():
            for work in (*pair, *pair):
                work()
    found = []
    for _ in range(args.runs):
        ratios: Ratios = {}
        for pairs, rounds in groups:
            ratios |= measured(pairs, 1 if args.tiny else rounds)
        found.append(ratios | started(1 if args.tiny else 7))
    return found


def bound(values: Sequence[float]) -> float:
    """The most that a ratio may be, of those of the committed runs."""
    return max(values) + max(max(values) - min(values), LEAST * statistics.median(values))


def committed(runs: Sequence[Ratios]) -> dict[str, list[float]]:
    """The values of each ratio."""
    return {name: [run[name] for run in runs] for name in (runs[0] if runs else {})}


def grown(found: Ratios, runs: Sequence[Ratios]) -> list[str]:
    """A sentence for each ratio that is over its bound, or that the committed runs do not have."""
    held, lines = committed(runs), []
    for name, value in found.items():
        if name not in held:
            lines.append(f"`{name}` must be in {FILE.name}, and is not; commit it by `make bench-quick ARGS=--write`.")
        elif not value <= bound(held[name]):
            lines.append(
                f"`{name}` must be at most {bound(held[name]):.3f}, got {value:.3f}; find what became slower, or pass "
                f"`--write --fresh` where that is wanted."
            )
    return lines


def shown(found: Ratios, runs: Sequence[Ratios]) -> str:
    """The ratios beside those that are committed."""
    held = committed(runs)
    return table(
        ("ratio", "now", "committed", "at most"),
        [
            (
                name,
                f"{value:.3f}",
                *(f"{each(held[name]):.3f}" if name in held else "" for each in (statistics.median, bound)),
            )
            for name, value in found.items()
        ],
    )


def write(path: Path, found: Sequence[Ratios], runs: Sequence[Ratios]) -> None:
    """Add runs to those that are committed; ones of other ratios are forgotten."""
    same = [run for run in runs if run.keys() == found[0].keys()]
    content: dict[str, Any] = {"about": about("One core"), "runs": [*same, *found][-KEPT:]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table and compare or write; 1 if a ratio grew."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        "python -m experiments.benchmarks.quick", description=lines[0], epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="add this run to the committed ones")
    parser.add_argument("--fresh", action="store_true", help="with --write: forget those that are committed")
    parser.add_argument("--runs", type=int, default=1, help="with --write: so many")
    parser.add_argument("--file", type=Path, default=FILE, help="of the committed runs")
    parser.add_argument("--tiny", action="store_true", help="at sizes that say nothing, to see that it runs")
    args = parser.parse_args(words)
    pin(1)
    runs = [] if args.fresh or not args.file.is_file() else json.loads(args.file.read_text(encoding="utf-8"))["runs"]
    found = runs_of(args)
    print(shown(found[-1], runs))
    if args.write:
        write(args.file, found, runs)
        return 0
    for line in (faults := grown(found[-1], runs)):
        print(line, file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())

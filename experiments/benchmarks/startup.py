"""How long it takes until something happens: the import, the first word of the command line, the first sample.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.startup --write experiments/results/startup.md

Each is a process of its own; processes take turns, and a time is a median over the rounds. Processor seconds are those
of the process with all its threads. What the interpreter and `import torch` take is part of every line below theirs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.timing import Seconds, children, environment, medians

SAMPLE = """
import torch
from flowops import LearnedMap
from flowops.networks import MLP
with torch.no_grad():
    LearnedMap(MLP(2))(0.0, 1.0, torch.zeros(1, 2))
"""
SOLVE = """
import torch
from flowops import VelocityField
VelocityField.from_function(lambda t, x: -x).flow_map()(0.0, 1.0, torch.ones(1, 2))
"""
PROGRAMS: dict[str, tuple[str, ...]] = {
    "python": ("-c", ""),
    "import torch": ("-c", "import torch"),
    "import flowops": ("-c", "import flowops"),
    "flowops --help": ("-m", "flowops.cli", "--help"),
    "first sample of a perceptron": ("-c", SAMPLE),
    "first solve of an equation": ("-c", SOLVE),
}
UNIT = "import torch"


def start(words: Sequence[str]) -> None:
    """Run one of them to its end."""
    subprocess.run([sys.executable, *words], env=environment(1), check=True, capture_output=True)


def measured(rounds: int, names: Sequence[str] = tuple(PROGRAMS)) -> dict[str, Seconds]:
    """Seconds of each, after one start of each that is not counted."""
    variants: dict[str, Callable[[], object]] = {name: partial(start, PROGRAMS[name]) for name in names}
    for run in variants.values():
        run()
    return medians(variants, rounds, children)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = parser(__doc__)
    each.add_argument("--rounds", type=int, default=7)
    args = each.parse_args(words)
    args.rounds = 1 if args.quick else args.rounds
    found = measured(args.rounds)
    unit = found[UNIT].processor
    rows = [
        (
            f"`{name}`" if name in (*PROGRAMS,)[:4] else name,
            f"{s.processor:.2f}",
            f"{s.wall:.2f}",
            f"{s.processor / unit:.2f}",
        )
        for name, s in found.items()
    ]
    text = table(("", "processor, s", "wall clock, s", f"processor / `{UNIT}`"), rows)
    lines = [Headline(f"`import flowops` / `{UNIT}`", f"{found['import flowops'].processor / unit:.2f}")]
    lines.append(Headline(f"`flowops --help` / `{UNIT}`", f"{found['flowops --help'].processor / unit:.2f}"))
    publish(args, "Start-up", __doc__, [about(f"{args.rounds} rounds"), text], lines)


if __name__ == "__main__":
    main()

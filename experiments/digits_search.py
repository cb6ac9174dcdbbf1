"""What brings the digits nearer in one step: settings by name, trained for as long as each other and judged alike.

    python -m experiments.digits_search                                  # every one of them, once: an hour on one core
    python -m experiments.digits_search suggested plain --seeds 0 1 2    # some, with a spread

Each is a command line of `flowops train digits`, with as many steps as some ninety seconds of one core hold; the table
of `search.md` in `--out` says how many seconds it really was. One step is compared with the solver of the same map's
field. A run that is there already is not trained again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments._recipes import configured, status
from experiments.digits_lsd import CONFIG
from flowops._files import write_text
from flowops.cli.console import to_stderr
from flowops.evaluation import evaluate
from flowops.training import train

VELOCITY = "--network.parameterization average-velocity"
PLAIN = (
    f"{VELOCITY} --steps 2000 --optimizer.kind adam --optimizer.schedule cosine --network.options width=512 depth=4 "
    "--options eta=0.75 law=UpperTriangle()"
)
SHORT = f"{VELOCITY} --steps 900 --optimizer.warmup 100 --optimizer.matrix-rate 0.005"
WAVES = "--network.options frequencies=1.5, --steps 2300"
VARIANTS: Mapping[str, str] = {
    # as long as the demo
    "suggested": "",
    "warmup": "--optimizer.warmup 100",
    "eta-0.4": "--options eta=0.4",
    "waves": f"{WAVES} --options eta=0.4",
    "velocity": f"{VELOCITY} --optimizer.warmup 100",
    "velocity-waves": f"{VELOCITY} {WAVES} --options eta=0.35 --optimizer.warmup 200",
    "plain": PLAIN,
    # a third of that, from here on, where the average velocity is learned
    "short-inside-steps": SHORT,
    "short-triangle": f"{SHORT} --options law=UpperTriangle()",
    "short-psd-m": f"{SHORT} --method psd-m --options eta=0.5",
    "short-eta-0.25": f"{SHORT} --options eta=0.25 law=UpperTriangle()",
}
"""Flags of `flowops train digits`, over the settings that the data set suggests."""
STEPS = (1, 2, 4)
SAMPLES = 2_000
HEADER = "| settings | seed | steps | seconds of a core | 1 step | 2 | 4 | dopri5 | 1 : dopri5 | precision | recall |"


@dataclass(frozen=True)
class Found:
    """One run, judged: Fréchet distances by sampler, and precision and recall in one step."""

    name: str
    seed: int
    steps: int
    seconds: float
    distances: tuple[float, ...]
    precision: float
    recall: float

    def line(self) -> str:
        """A row of the table."""
        distances = " | ".join(f"{value:.3f}" for value in self.distances)
        ratio = self.distances[0] / self.distances[-1]
        seconds = f"{self.seconds:.0f}" if self.seconds else ""
        return (
            f"| {self.name} | {self.seed} | {self.steps} | {seconds} | {distances} | {ratio:.2f} | "
            f"{self.precision:.2f} | {self.recall:.2f} |"
        )


def tried(name: str, seed: int, words: Sequence[str], folder: Path) -> Found:
    """One run by the settings of that name, and what came of it."""
    flags = [*VARIANTS[name].split(), *words, "--seed", str(seed), "--out", str(folder / f"{name}-{seed}")]
    config, _ = configured(CONFIG, "digits_search", flags)
    config = replace(config, log=replace(config.log, progress=False))
    begun = time.process_time()
    run = train(config, resume=True, report=to_stderr)
    seconds = time.process_time() - begun
    table = evaluate(run, steps=STEPS, n=SAMPLES, solvers=("dopri5",), report=to_stderr)
    judged = table.rows[: len(STEPS) + 1]
    precision, recall = (table.columns.index(which) for which in ("precision", "recall"))
    first = judged[0].values
    distances = tuple(row.values[0] for row in judged)
    return Found(name, seed, run.step, seconds, distances, first[precision], first[recall])


def lines(names: Sequence[str], seeds: Sequence[int], words: Sequence[str], folder: Path) -> Iterator[str]:
    """The table, a row when its run is judged."""
    yield HEADER
    yield "|---" * HEADER.count(" | ") + "|---|"
    for name in names:
        for seed in seeds:
            yield tried(name, seed, words, folder).line()


def main(words: Sequence[str] | None = None) -> int:
    """Try what is asked for; the exit status."""
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m experiments.digits_search", description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(VARIANTS)}; all if left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/digits_search"))
    asked, others = parser.parse_known_args(words)
    if unknown := [name for name in asked.names if name not in VARIANTS]:
        parser.error(f"NAME must be one of {', '.join(VARIANTS)}, got {unknown[0]}; other flags are those of training.")

    def work() -> None:
        table: list[str] = []
        for line in lines(asked.names or list(VARIANTS), asked.seeds, others, asked.out):
            table.append(line)
            print(line, flush=True)
            write_text(asked.out / "search.md", "\n".join(table) + "\n")

    return status(work, "digits_search")


if __name__ == "__main__":
    sys.exit(main())

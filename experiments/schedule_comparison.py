"""One network, one loss, five schedules, one of them a formula of the user's own: which one makes few steps good?

    python -m experiments.schedule_comparison --out runs/schedules
    python -m experiments.schedule_comparison --alpha "(1-t)**2" --beta "1-(1-t)**2"    # your formula as the fifth

trains the same map under each schedule (every flag of `flowops train` changes a setting of all), and writes a table
`comparison.md` and a figure `comparison.png`: distance to the data by number of steps. An interrupted comparison goes
on when the command is given again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments._recipes import STEPS, configured, stage, status
from experiments.digits_lsd import CONFIG as DIGITS
from flowops._files import write_text
from flowops.cli.console import to_stderr
from flowops.evaluation import Evaluation, evaluate
from flowops.pictures import save_curves
from flowops.runs.processes import on_first
from flowops.training import TrainConfig

CONFIG = replace(DIGITS, steps=1_000, checkpoint_every=500, out="runs/schedules")
NAMED = ("linear", "trigonometric", "cosine", "variance_preserving")
OWN = ("1-t**2", "t*(2-t)")


def schedules(config: TrainConfig) -> dict[str, TrainConfig]:
    """The settings of each run: the named schedules, and the formula of the command line or the one above."""
    alpha, beta = (config.alpha, config.beta) if config.alpha else OWN
    runs = {name: replace(config, interpolant=name, alpha=None, beta=None, gamma=None) for name in NAMED}
    return {**runs, f"{alpha}, {beta}": replace(config, interpolant=None, alpha=alpha, beta=beta)}


def compare(words: Sequence[str] | None = None, n: int = 1_000) -> None:
    """Train and judge under each schedule, with `n` samples of each sampler."""
    found: dict[str, Evaluation] = {}
    config, _ = configured(CONFIG, "schedule_comparison", words)
    out = Path(config.out)
    for name, settings in schedules(config).items():
        to_stderr(f"schedule {name}")
        run = stage(settings, out=str(out / (name if name in NAMED else "own")))
        found[name] = evaluate(run, steps=STEPS, n=n, solvers=("dopri5",))

    def write() -> None:
        text = table(found)
        write_text(out / "comparison.md", text)
        draw(out / "comparison.png", found)
        print(f"{text}\nwrote {out / 'comparison.md'} and {out / 'comparison.png'}")

    on_first(write)


def table(found: Mapping[str, Evaluation]) -> str:
    """The first metric of every sampler, a row for each schedule."""
    first = next(iter(found.values()))
    header = ["schedule", *(row.sampler for row in first.rows)]
    lines = [f"{first.columns[0]}, {first.n} samples, step {first.step}.", ""]
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for name, evaluation in found.items():
        cells = [f"`{name}`", *(f"{row.values[0]:.4g}" for row in evaluation.rows)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(path: Path, found: Mapping[str, Evaluation]) -> None:
    """The metric against the number of steps; a dotted line is dopri5 on the map's own field."""
    first = next(iter(found.values()))
    values = {name: [row.values[0] for row in evaluation.rows] for name, evaluation in found.items()}
    save_curves(
        path,
        {name: (STEPS, column[: len(STEPS)]) for name, column in values.items()},
        labels=("steps of the map; dotted: dopri5 on its own field", first.columns[0]),
        levels={**{name: column[len(STEPS)] for name, column in values.items()}, "data": first.rows[-1].values[0]},
        logarithmic="x",
    )


if __name__ == "__main__":
    sys.exit(status(compare, "schedule_comparison"))

"""One network, one loss, five schedules, one of them a formula of the user's own: which one makes few steps good?

    python -m experiments.schedule_comparison --out runs/schedules
    python -m experiments.schedule_comparison --alpha "(1-t)**2" --beta "1-(1-t)**2"    # your formula as the fifth

trains the same map under each schedule (every flag of `flowops train` changes a setting of all), and once more with
each cure under the schedules whose loss is infinite. It writes `comparison.md`, two figures with the distance to the
data by number of steps, `comparison.png` of the schedules and `cures.png` of the cures where they matter most, and says
how unequal the losses of samples are. An interrupted comparison goes on when the command is given again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from experiments._recipes import STEPS, configured, stage, status
from experiments.digits_lsd import CONFIG as DIGITS
from flowops import LearnedMap
from flowops._files import write_text
from flowops.cli.console import to_stderr
from flowops.evaluation import Evaluation, evaluate
from flowops.interpolants import divergences, named
from flowops.methods import InverseSpeed, get_method
from flowops.pictures import save_curves
from flowops.runs.processes import on_first
from flowops.times import Diagonal, Uniform, UniformAngle
from flowops.training import TrainConfig

CONFIG = replace(DIGITS, steps=1_000, checkpoint_every=500, out="runs/schedules")
NAMED = ("linear", "trigonometric", "cosine", "variance_preserving")
OWN = ("1-t**2", "t*(2-t)")
STEEPEST = "variance_preserving"  # the cures of the other schedule draw one line
CURES: Final[Mapping[str, Mapping[str, Any]]] = {
    "InverseSpeed()": {"weight": InverseSpeed()},
    "InverseSpeed(), UniformAngle()": {"weight": InverseSpeed(), "diagonal": UniformAngle()},
    "times up to 0.999": {"diagonal": Uniform(0.0, 0.999)},
}
"""Options of a row with a diagonal term of its own, by name."""


def schedules(config: TrainConfig) -> dict[str, TrainConfig]:
    """The settings of each run: the named schedules, and the formula of the command line or the one above."""
    alpha, beta = (config.alpha, config.beta) if config.alpha else OWN
    folder = Path(config.out)
    plain = {name: replace(config, interpolant=name, alpha=None, beta=None, gamma=None) for name in NAMED}
    runs = {name: replace(settings, out=str(folder / name)) for name, settings in plain.items()}
    own = replace(config, interpolant=None, alpha=alpha, beta=beta, out=str(folder / "own"))
    return {**runs, f"{alpha}, {beta}": own}


def cured(config: TrainConfig) -> dict[str, TrainConfig]:
    """The settings of the schedules with an infinite loss, under each cure."""
    runs = {}
    for name in filter(lambda name: divergences(named(name)), NAMED):
        for number, (label, options) in enumerate(CURES.items(), 1):
            texts = (*config.options, *(f"{key}={value}" for key, value in options.items()))
            settings = replace(config, interpolant=name, alpha=None, beta=None, gamma=None, options=texts)
            runs[f"{name}, {label}"] = replace(settings, out=str(Path(config.out) / f"{name}_cure_{number}"))
    return runs


def compare(words: Sequence[str] | None = None, n: int = 1_000) -> None:
    """Train and judge under each schedule, with `n` samples of each sampler."""
    found: dict[str, Evaluation] = {}
    config, _ = configured(CONFIG, "schedule_comparison", words)
    plain, out = schedules(config), Path(config.out)
    for name, settings in {**plain, **cured(config)}.items():
        to_stderr(f"schedule {name}")
        found[name] = evaluate(stage(settings), steps=STEPS, n=n, solvers=("dopri5",))

    def write() -> None:
        text = f"{table(found)}\n{unequal(100 * n)}"
        write_text(out / "comparison.md", text)
        draw(out / "comparison.png", {name: found[name] for name in plain})
        draw(out / "cures.png", {cure(name): each for name, each in found.items() if name.startswith(STEEPEST)})
        print(f"{text}\nwrote {out / 'comparison.md'}, {out / 'comparison.png'} and {out / 'cures.png'}")

    on_first(write)


def cure(label: str) -> str:
    """The cure in the label of a run."""
    return label.partition(", ")[2] or "none"


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


class Zero(nn.Module):
    """The network of the zero field."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def unequal(n: int) -> str:
    r"""How unequal the losses $|\dot I_t|^2$ of flow matching are among `n` draws of planar normal samples."""
    lines = [f"Flow-matching loss of the zero field, {n} draws, planar standard normal base and data.", ""]
    lines += ["| schedule | mean | largest / mean | share of the largest 1e-4 |", "|---|---|---|---|"]
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, n, 2, generator=generator)
    for name in NAMED:
        for label, options in {"": {}, **(CURES if divergences(named(name)) else {})}.items():
            given = {"law" if key == "diagonal" else key: value for key, value in options.items()}
            if "law" in given:
                given["law"] = Diagonal(given["law"])
            loss = get_method("fm", **given)(LearnedMap(Zero()), named(name), x0, x1, seed=1).per_sample
            mean, top = loss.mean(), loss.topk(max(n // 10_000, 1)).values
            cells = (f"{mean:.3g}", f"{top[0] / mean:.3g}", f"{top.sum() / loss.sum():.2%}")
            lines.append(f"| `{name}{label and ', '}{label}` | {' | '.join(cells)} |")
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

"""The table of the recipes: the figures of their papers, and ours where there are any.

python -m experiments.recipes.table        # writes experiments/results/recipes.md
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.recipes._recipe import DAY, FETCH, Recipe
from flowops._files import write_text

NAMES = ("cifar10_lsd", "cifar10_meanflow", "cifar10_ect", "cifar10_scm", "cifar10_cmt", "cifar10_ayf")
RECIPES: tuple[Recipe, ...] = tuple(importlib.import_module(f"experiments.recipes.{name}").RECIPE for name in NAMES)
FILE = Path(__file__).parents[1] / "results" / "recipes.md"


def figures(values: Mapping[int, float], steps: Sequence[int]) -> str:
    """The figures by number of steps, or that they are owed."""
    return " / ".join(f"{values[k]:.2f}" for k in steps) if values else "owed"


def text() -> str:
    """The page."""
    lines = [
        "# The papers' recipes on CIFAR-10",
        "",
        "Unconditional CIFAR-10, FID. `python -m experiments.recipes.NAME --data PATH` trains one, `--one-day` what "
        "fits a day of one H200; `python -m experiments.recipes.table` writes this page. None has been run in full.",
        "",
        "| recipe | steps of a sampler | the paper's FID | ours | steps of training x batch | share in a day |",
        "|---|---|---|---|---|---|",
    ]
    for r in RECIPES:
        steps = sorted(r.figures)
        lengths = ", ".join(f"{s.config.steps:,} x {s.config.batch:,}" for s in r.stages)
        paper = figures(r.figures, steps) if steps else "none in print"
        ours = figures(r.ours, steps or sorted(r.ours))
        at = " / ".join(map(str, steps)) or "1 / 2 / 4"
        lines.append(f"| [`{r.name}`](../recipes/{r.name}.py) | {at} | {paper} | {ours} | {lengths} | {r.share:.2f} |")
    lines += [
        "",
        f"A day is {DAY / 1e6:.1f} M samples at four passes of the network each, forward counted once and backward "
        "twice: the rate of the README of Gsunshine/py-meanflow, 0.21 s for a step of 1,024 on eight H200, divided by "
        "eight. It is not our rate, which is owed. The share is that of the paper's samples; steps, warm-up, the start "
        "of a decay and curricula are shortened by it.",
    ]
    for r in RECIPES:
        lines += ["", f"## {r.name}", "", f"*{r.source}.*", "", f"Protocol: {r.protocol}.", "", "Other than there:", ""]
        lines += [f"- {each}" for each in r.unlike]
        day = r.written(one_day=True)
        short = ", ".join(f"{name} {config.steps:,}" for name, config in day.items())
        lines += ["", f"In a day: {short} steps."]
    lines += ["", "## Weights from elsewhere", "", FETCH]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_text(FILE, text())
    print(f"wrote {FILE}")

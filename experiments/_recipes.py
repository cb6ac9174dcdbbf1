"""What the recipes share: settings from the command line on top of their own, a run, its table and its pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flowops.cli.console import brief_warnings, in_shell, to_stderr
from flowops.cli.train import settings
from flowops.evaluation import Evaluation, evaluate
from flowops.pictures import save_comparison
from flowops.runs.processes import on_first
from flowops.training import Interrupted, NotFinite, Run, TrainConfig, train

STEPS = (1, 2, 4, 8)


def configured(default: TrainConfig, name: str, words: Sequence[str] | None = None) -> tuple[TrainConfig, bool]:
    """The settings of a recipe with the flags of `flowops train` over them, and whether to resume."""
    return settings(sys.argv[1:] if words is None else words, f"python -m experiments.{name}", default)


def judged(run: Run, **options: Any) -> Evaluation:
    """Its table, printed and written beside it as evaluation.md and .json, with a picture of its samples.

    Where several processes trained they share the samples of the table, and the first one does the rest.
    """
    found = evaluate(run, steps=STEPS, report=to_stderr, **options)

    def write() -> None:
        found.save(run.folder.path / "evaluation.md")
        drawn = [*(run.draw(10, steps=k) for k in STEPS), run.solve(10)]
        save_comparison(run.folder.path / "samples.png", {each.label: each.x.cpu() for each in drawn})
        print(found.markdown())
        print(f"wrote {run.folder.path / 'evaluation.md'} and {run.folder.path / 'samples.png'}")

    on_first(write)
    return found


def recipe(default: TrainConfig, name: str, words: Sequence[str] | None = None, **options: Any) -> int:
    """Train by the settings of a recipe and judge the run; the exit status."""

    def work() -> None:
        config, resume = configured(default, name, words)
        judged(train(config, resume=resume, report=to_stderr), **options)

    return status(work, name)


def status(work: Callable[[], None], name: str) -> int:
    """The exit status of what may be interrupted or refused, each of which is told in one line."""
    try:
        with brief_warnings():
            work()
    except Interrupted as stop:
        to_stderr(in_shell(str(stop)))
        return 130
    except KeyboardInterrupt:
        to_stderr(f"{name}: interrupted; the same command goes on.")
        return 130
    except (ValueError, TypeError, OSError, ImportError, NotFinite) as error:
        to_stderr(in_shell(f"{name}: {error}"))
        return 1
    return 0


def stage(config: TrainConfig, **changed: Any) -> Run:
    """One run of a recipe of several, that goes on where it was interrupted."""
    return train(replace(config, **changed), resume=True, report=to_stderr)

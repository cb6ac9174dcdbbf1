"""What the recipes share: settings from the command line on top of their own, a run, its table and its pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from flowops.cli.console import brief_warnings, tell
from flowops.cli.parsing import parse
from flowops.cli.train import FLAGS, Train
from flowops.report import save_comparison
from flowops.report.evaluation import Evaluation, evaluate
from flowops.training import Interrupted, NotFinite, Run, TrainConfig, train

STEPS = (1, 2, 4, 8)


def configured(default: TrainConfig, name: str, words: Sequence[str] | None = None) -> tuple[TrainConfig, bool]:
    """The settings of a recipe with the flags of `flowops train` over them, and whether to resume."""
    start = Train(**{f.name: getattr(default, f.name) for f in fields(TrainConfig)})
    arguments = sys.argv[1:] if words is None else words
    given = parse(Train, list(arguments), name, flags=FLAGS, default=start)
    return TrainConfig(**{f.name: getattr(given, f.name) for f in fields(TrainConfig)}), given.resume


def judged(run: Run, **options: Any) -> Evaluation:
    """Its table, printed and written beside it as evaluation.md and .json, with a picture of its samples."""
    found = evaluate(run, steps=STEPS, report=tell, **options)
    found.save(run.folder.path / "evaluation.md")
    rows = {f"{k} step{'s' * (k > 1)}": run.sample(10, steps=k) for k in STEPS}
    solved = run.solve(10)
    rows[f"dopri5 on its own field, {solved.calls:.0f} calls"] = solved.x
    save_comparison(run.folder.path / "samples.png", {label: x.cpu() for label, x in rows.items()})
    print(found.markdown())
    print(f"wrote {run.folder.path / 'evaluation.md'} and {run.folder.path / 'samples.png'}")
    return found


def recipe(default: TrainConfig, name: str, words: Sequence[str] | None = None, **options: Any) -> int:
    """Train by the settings of a recipe and judge the run; the exit status."""

    def work() -> None:
        config, resume = configured(default, name, words)
        judged(train(config, resume=resume, report=tell), **options)

    return status(work, name)


def status(work: Callable[[], None], name: str) -> int:
    """The exit status of what may be interrupted or refused, each of which is told in one line."""
    try:
        with brief_warnings():
            work()
    except Interrupted as stop:
        tell(str(stop))
        return 130
    except (ValueError, TypeError, OSError, ImportError, NotFinite) as error:
        tell(f"{name}: {error}")
        return 1
    return 0


def stage(config: TrainConfig, **changed: Any) -> Run:
    """One run of a recipe of several, that goes on where it was interrupted."""
    return train(replace(config, **changed), resume=True, report=tell)

"""The stages in order, and how one is run: measurement by measurement, as long as its minutes last."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from experiments.gpu import checks, stages, training
from experiments.gpu.ledger import Ledger
from experiments.gpu.recipe import Setting
from experiments.gpu.stages import Stage
from experiments.gpu.summary import write_summary

STAGES: dict[str, Stage] = {
    "tests": Stage("the tests marked gpu", checks.measures),
    "steps": Stage("time and memory of a step of five losses, uncompiled", partial(stages.steps, compiled=False)),
    "compiled": Stage("the same, compiled", partial(stages.steps, compiled=True)),
    "ceiling": Stage("the ceilings of the device, and the operations of a step", stages.ceiling),
    "profile": Stage("where the time of a step goes, by kernel", stages.profile),
    "sampling": Stage("pictures per second by steps, precision and compilation", stages.sampling),
    "training": Stage("the recipe, as far as the minutes allow", training.measures, training.run_folder),
}
"""In the order in which they are run."""


def perform(
    name: str, setting: Setting, folder: Path, minutes: float, *, again: bool, say: Callable[[str], None]
) -> bool:
    """Run a stage, or what is left of it; whether it is finished. What fails is noted, and the next one is tried.

    Args:
        name: of the stage.
        setting: where and on what.
        folder: of the JSON files and their summary.
        minutes: after which no further measurement is begun.
        again: begin anew.
        say: is told a line for each measurement.

    Raises:
        ValueError: for a file of measurements of another kind, and if all of the stage failed; it is not finished then.
    """
    end, stage = time.monotonic() + 60 * minutes, STAGES[name]
    ledger = Ledger(folder / f"{name}.json", setting.device, tiny=setting.tiny, again=again)
    if ledger.finished:
        say(f"{name}: finished before; pass --again to measure anew")
        return True
    if again and stage.keeps and stage.keeps(setting).exists():
        shutil.rmtree(stage.keeps(setting))

    def left() -> float:
        return end - time.monotonic()

    measures = stage.measures(setting, left)
    ledger.begin(measures)
    try:
        for each, measure in measures.items():
            if not ledger.wants(each):
                continue
            if left() <= 0:
                say(f"{name}: the time is up before {each}; call again")
                return False
            _measure(ledger, each, measure, say)
        if any(ledger.lacks(each) for each in measures):
            return False
        if not ledger.content["results"]:
            raise ValueError(f"{name}: all of it failed, as {ledger.path} says; mend the cause and call again.")
        ledger.finish()
        return True
    finally:
        write_summary(folder)


def _measure(ledger: Ledger, name: str, measure: Callable[[], dict[str, object]], say: Callable[[str], None]) -> None:
    """Make one measurement; whatever goes wrong with it is noted."""
    ledger.attempt(name)
    begun = time.monotonic()
    try:
        ledger.keep(name, measure())
        say(f"{ledger.path.stem}: {name}, {time.monotonic() - begun:.0f} s")
    except TimeoutError as error:
        say(f"{ledger.path.stem}: {name}: {error}")  # it was begun, and is begun once more
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).strip()}"[:600]
        ledger.fail(name, why)
        say(f"{ledger.path.stem}: {name} failed, {why.splitlines()[0][:200]}")
    finally:
        torch._dynamo.reset()
        gc.collect()
        if ledger.device.type == "cuda":
            torch.cuda.empty_cache()

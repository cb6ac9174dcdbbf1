"""`flowops train`: the settings of a run as flags, on top of those of a file or of the run that goes on."""

from __future__ import annotations

import csv
import signal
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from flowops.cli.console import say, tell
from flowops.cli.parsing import Flag, parse
from flowops.training import Interrupted, Run, TrainConfig, load_config, train
from flowops.training.folder import RunFolder


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a flow map on DATASET, or go on with a run.

    Give DATASET before flags that take several values. --network unet is short for --network.kind unet.

    Attributes:
        config: file with settings, such as config.yaml of another run; flags override it.
        resume: go on with the run in --out from its last checkpoint, under its settings.
    """

    config: str | None = None
    resume: bool = False


FLAGS = {
    "dataset": Flag(positional=True),
    "data": Flag(shown="PATH"),
    "data_options": Flag(shown="[NAME=VALUE ...]"),
    "options": Flag(shown="[NAME=VALUE ...]"),
    "alpha": Flag(shown="FORMULA"),
    "beta": Flag(shown="FORMULA"),
    "gamma": Flag(shown="FORMULA"),
    "teacher": Flag(shown="RUN"),
    "init": Flag(shown="RUN"),
    "averages": Flag(shown="[FLOAT ...]"),
    "power": Flag(shown="[FLOAT ...]"),
    "out": Flag(shown="RUN"),
    "config": Flag(shown="FILE"),
}
SHORT = {"--network": "--network.kind"}


def run(args: Sequence[str]) -> int:
    """Train, and say what came of it."""
    words = [_long(word) for word in args]
    given = parse(Train, words, "train", flags=FLAGS, default=defaults(words))
    config = TrainConfig(**{f.name: getattr(given, f.name) for f in fields(TrainConfig)})
    try:
        finished = train(config, resume=given.resume, report=tell)
    except Interrupted as stop:
        tell(str(stop))
        return 128 + signal.Signals[stop.signal].value
    say(_summary(finished))
    return 0


def defaults(words: Sequence[str]) -> Train | None:
    """What holds where no flag says otherwise: the settings of --config, or of the run that goes on, or None.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no settings.
    """
    if {"-h", "--help"} & set(words):
        return None
    file, folder = _value(words, "--config"), RunFolder(Path(_value(words, "--out") or TrainConfig.out))
    if file is None and "--resume" in words and folder.config.is_file():
        held = replace(load_config(folder.config), out=str(folder.path))  # it may have been moved
    elif file is not None:
        held = load_config(file)
    else:
        return None
    return Train(**{f.name: getattr(held, f.name) for f in fields(held)})


def _value(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag that takes one, which is needed before the others can be read."""
    found = None
    for k, word in enumerate(words):
        if word == flag and k + 1 < len(words):
            found = words[k + 1]
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found


def _long(word: str) -> str:
    name, equals, value = word.partition("=")
    return SHORT.get(name, name) + equals + value


def _summary(finished: Run) -> str:
    """One line: where the run is, how far it came, what to do next."""
    folder = finished.folder
    loss = _last(folder.metrics, "loss")
    told = "" if loss is None else f", loss {float(loss):.4g}"
    return f"{folder.path}: step {finished.step} of {finished.config.steps}{told}. Next: flowops sample {folder.path}"


def _last(path: Path, column: str) -> Any:
    """The last entry of a column of a table, None without one."""
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        entries = [row[column] for row in csv.DictReader(file) if row.get(column)]
    return entries[-1] if entries else None

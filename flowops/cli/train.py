"""`flowops train`: the settings of a run as flags, on top of those of a file or of the run that goes on."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from flowops._named import meant
from flowops.cli.console import in_shell, to_stderr, to_stdout
from flowops.cli.parsing import FORMULA, Flag, parse
from flowops.runs import NetworkConfig, Run, RunFolder, TrainConfig, load_config
from flowops.runs.tables import last_value
from flowops.training import Interrupted, train


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a flow map on DATASET, or go on with a run.

    Give DATASET before flags that take several values. --network unet is short for --network.kind unet.

    Attributes:
        config: file with settings, such as config.yaml of another run; flags override it.
        resume: go on with the run in --out from its last checkpoint, under its settings and the flags that are given.
    """

    config: str | None = None
    resume: bool = False


FLAGS = {
    "dataset": Flag(positional=True),
    "data": Flag(shown="PATH"),
    "data_options": Flag(shown="[NAME=VALUE ...]"),
    "options": Flag(shown="[NAME=VALUE ...]"),
    "coupling_options": Flag(shown="[NAME=VALUE ...]"),
    "alpha": Flag(shown=FORMULA),
    "beta": Flag(shown=FORMULA),
    "gamma": Flag(shown=FORMULA),
    "teacher": Flag(shown="RUN"),
    "init": Flag(shown="RUN"),
    "averages": Flag(shown="[FLOAT ...]"),
    "power": Flag(shown="[FLOAT ...]"),
    "out": Flag(shown="RUN"),
    "config": Flag(shown="FILE"),
}
SHORT = {"--network": "--network.kind", "--lr": "--optimizer.rate", "--batch-size": "--batch"}
ALSO = {  # what the library calls by another name
    "path": "--data",
    "schedule": "--interpolant",
    "decays": "--averages",
    "sigma_rel": "--power",
    "validate": "flowops schedules",
}


def run(args: Sequence[str]) -> int:
    """Train, and say what came of it."""
    config, resume = settings(args, "train")
    try:
        finished = train(config, resume=resume)
    except Interrupted as stop:
        to_stderr(in_shell(str(stop)))
        return 128 + signal.Signals[stop.signal].value
    to_stdout(_summary(finished))
    return 0


def settings(args: Sequence[str], command: str, default: TrainConfig | None = None) -> tuple[TrainConfig, bool]:
    """The settings that the words of a command line give, and whether to resume.

    Args:
        args: the words.
        command: its name.
        default: what holds where neither a flag nor a file says otherwise.
    """
    words = long_words(args)
    given = parse(Train, words, command, flags=FLAGS, default=_start(words, default), also=ALSO)
    return TrainConfig(**{f.name: getattr(given, f.name) for f in fields(TrainConfig)}), given.resume


def long_words(args: Sequence[str]) -> list[str]:
    """The words with short flags written out; a flag for what is an option of the network is explained."""
    words = [_long(word) for word in args]
    _check_network(words)
    return words


def _check_network(words: Sequence[str]) -> None:
    """Explain a flag for what is an option of the network; the parser knows the flags alone, and names one of these."""
    for flag in (word.partition("=")[0] for word in words if word.startswith("--network.")):
        name = flag.removeprefix("--network.").replace("-", "_")
        if meant(name, (f.name for f in fields(NetworkConfig))) == ".":
            to_stderr(f"flowops: {flag} is no flag; options of the network are --network.options {name}=VALUE.")
            raise SystemExit(2)


def _start(words: Sequence[str], default: TrainConfig | None) -> Train | None:
    """What holds where no flag says otherwise: the settings of --config, or of the run that goes on, or `default`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no settings.
    """
    asked = {"-h", "--help"} & set(words)
    file, folder = _value(words, "--config"), RunFolder(Path(_value(words, "--out") or (default or TrainConfig).out))
    held = default
    if file is not None and not asked:
        held = load_config(file)
    elif "--resume" in words and folder.config.is_file() and not asked:
        held = replace(load_config(folder.config), out=str(folder.path))  # it may have been moved
    kind = _value(words, "--network.kind")
    if held is not None and kind not in (None, held.network.kind):  # the options were those of the other one
        held = replace(held, network=replace(held.network, options=()))
    return None if held is None else Train(**{f.name: getattr(held, f.name) for f in fields(held)})


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
    folder, steps = finished.folder, finished.config.steps
    loss = last_value(folder.metrics, "loss")
    told = "" if loss is None else f", loss {loss:.4g}"
    of = f" of {steps}" if steps else ""
    return f"{folder.path}: step {finished.step}{of}{told}. Next: flowops sample {folder.path}"

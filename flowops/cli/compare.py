"""`flowops compare`: rows, schedules and couplings trained alike under several seeds, in one table and one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from flowops.cli.console import to_stderr, to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.cli.train import FLAGS as TRAIN_FLAGS
from flowops.cli.train import long_words
from flowops.comparison import Comparison, Protocol, compare
from flowops.comparison.compare import OF_ENTRIES
from flowops.runs import TrainConfig, load_config
from flowops.training import Interrupted


@dataclass(frozen=True)
class Compare(TrainConfig):
    """Train rows on DATASET at one budget and measure them alike.

    A row may have several options, schedules, couplings and seeds.

    A folder runs/ with a run for each, compare.json, .md and .png are written anew after every run.

    The same command goes on where it was interrupted, and may be given more to compare.

    DATASET comes before flags that take several values. Other flags are those of flowops train.

    Attributes:
        methods: rows of the table of methods, or package.module:row; all for every row but those that are another one
            with the same settings. Several between blanks or commas.
        schedules: named schedules, or formulas in t between semicolons, such as "cos(pi*t/2);sin(pi*t/2)".
        couplings: how base and data samples are paired, options behind a blank, such as "optimal-transport block=256".
        set: options of a row, such as "lsd:eta=0.5 form=velocity", each a variant in place of its defaults; "lsd:"
            alone stands for these.
        presets: let all hold the rows that are another one with the same settings too.
        samples_seen: images that each run sees, whatever the row does with a batch; without it --minutes, or what suits
            the data set.
        seeds: seeds of each combination.
        calls: numbers of network calls along the map.
        n: samples of each sampler.
        features: features of images; pixels if left out, inception, dinov2, or package.module:factory.
        split: split of the data, train or test.
        solver: solver of the map's own field beside it.
        metrics: further columns, as in flowops evaluate.
        certificates: estimate the error of one step against the map's own field.
        jobs: runs side by side, each in a process of its own; 0 for none but this one.
        config: file with settings that all share, such as config.yaml of a run; flags override them.
        out: folder of the comparison.
    """

    methods: tuple[str, ...] = ("all",)
    schedules: tuple[str, ...] = ("linear",)
    couplings: tuple[str, ...] = ("independent",)
    set: tuple[str, ...] = ()
    presets: bool = False
    samples_seen: int | None = None
    seeds: tuple[int, ...] = (0, 1)
    calls: tuple[int, ...] = (1, 2, 4, 8)
    n: int = 5000
    features: str | None = None
    split: str = "train"
    solver: Literal["dopri5", "none"] = "dopri5"
    metrics: tuple[str, ...] = ()
    certificates: bool = True
    jobs: int = 1
    config: str | None = None
    out: str = "runs/compare"


FLAGS = {
    **TRAIN_FLAGS,
    **{name: Flag(absent=True) for name in OF_ENTRIES if name != "out"},
    "methods": Flag(shown="[ROW ...]"),
    "schedules": Flag(shown="[SCHEDULE ...]"),
    "couplings": Flag(shown="[COUPLING ...]"),
    "set": Flag(shown="[ROW:NAME=VALUE ...]"),
    "calls": Flag(name="steps", shown="[INT ...]"),
    "features": Flag(shown="NAME"),
    "out": Flag(shown="FOLDER"),
}
ALSO = {  # what the library calls by another name
    **{"steps": "--steps", "settings": "--set", "method": "--methods", "schedule": "--schedules"},
    **{"interpolant": "--schedules", "coupling": "--couplings", "path": "--data", "dataset": "DATASET"},
}


def run(args: Sequence[str]) -> int:
    """Carry out a comparison and print its tables; 1 where an entry failed, 130 after Ctrl-C."""
    given = chosen(args, "compare")
    try:
        found = carried_out(given)
    except (Interrupted, KeyboardInterrupt):
        to_stderr(f"Interrupted; what is finished is in {Path(given.out) / 'compare.md'}, the same command goes on.")
        return 130
    to_stdout(f"{found.markdown()}\n\n{found.findings()}\n\nThe figure: {Path(given.out) / 'compare.png'}")
    return 1 if any(outcome.verdict == "failed" for outcome in found.outcomes) else 0


def chosen(args: Sequence[str], command: str, default: Compare | None = None) -> Compare:
    """What the words of a command line ask for.

    Args:
        args: the words.
        command: its name.
        default: what holds where no flag says otherwise.
    """
    words = long_words(args)
    file = next((words[k + 1] for k, word in enumerate(words[:-1]) if word == "--config"), None)
    if file is not None and default is None and not {"-h", "--help"} & set(words):
        held = load_config(file)
        shared = {f.name: getattr(held, f.name) for f in fields(TrainConfig) if f.name not in OF_ENTRIES}
        default = Compare(**shared)
    return parse(Compare, words, command, flags=FLAGS, default=default, also=ALSO)


def carried_out(given: Compare) -> Comparison:
    """The comparison that was asked for."""
    shared: dict[str, Any] = {f.name: getattr(given, f.name) for f in fields(TrainConfig) if f.name not in OF_ENTRIES}
    protocol = Protocol(
        given.calls, given.n, given.features, given.split, None if given.solver == "none" else given.solver,
        given.metrics, given.certificates,
    )  # fmt: skip
    return compare(
        TrainConfig(**shared), methods=given.methods, schedules=given.schedules, couplings=given.couplings,
        settings=given.set, presets=given.presets, samples_seen=given.samples_seen, seeds=given.seeds,
        protocol=protocol, out=given.out, jobs=given.jobs, report=to_stderr,
    )  # fmt: skip

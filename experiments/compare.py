"""Which method should I take? Every row of the table at one budget, on digits, the checkerboard and CIFAR-10.

    python -m experiments.compare digits --jobs 2
    python -m experiments.compare checkerboard --jobs 2
    python -m experiments.compare cifar10-16 --data PATH --jobs 2
    python -m experiments.compare cifar10-32 folder:PATH --jobs 2

is `flowops compare` under a named protocol; every flag of it changes a setting, and the same command goes on where it
was interrupted. When all entries of an unchanged protocol are finished, the table, the figure and every number go to
`experiments/results/compare_<protocol>.md`, `.png` and `.json`, of which `python docs/tables.py` writes the page
`docs/which_method.md`.

The digits and the checkerboard take all rows. Digits have the network and optimizer that suit them and less than half
of the images that `flowops train digits` takes; these were chosen for `lsd`, which stands there with the options of the
table, as all rows do, and with its own for digits. The checkerboard has the schedule, network and optimizer of
`experiments.checkerboard` with independent pairs, the law that its divergence and its teachers are of, and without
compilation, which some rows refuse and which a few minutes do not pay for. On CIFAR-10, PATH being the pictures in
folders or an archive of them, stand the six rows of lowest mean rank in the committed tables of the other two; images
are compared by the features of `experiments.cifar10_features`, which must have been trained before, and at half the
side with their pixels doubled. Rows that follow the teacher's field do so in fewer steps than by default.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments._recipes import status
from experiments.checkerboard import CONFIG as BOARD
from experiments.checkerboard import STEADY
from flowops.cli.compare import Compare, carried_out, chosen
from flowops.comparison import Comparison, Row
from flowops.comparison.findings import ranked
from flowops.methods import get_method
from flowops.runs import HardwareConfig, LogConfig, OptimizerConfig

RESULTS = Path(__file__).parent / "results"
LOG = LogConfig(telemetry_every=0, keep=1, tensorboard=False)
CIFAR = Compare(
    "folder:cifar10-jpeg",
    methods=(),  # the best of the others
    set=("regression:solver=heun steps=4", "cmt:steps=4"),  # by default a CPU solves for hours
    batch=64,
    averages=(0.99, 0.999),
    checkpoint_every=100,
    optimizer=OptimizerConfig(rate=1e-3, warmup=20),
    log=LOG,
    hardware=HardwareConfig(compile="no"),
    features="experiments.cifar10_features:extractor",
)
PROTOCOLS: Mapping[str, Compare] = {
    "digits": Compare(
        "digits",
        set=("f2d2:probes=1", "lsd:eta=0.75 law=none", "lsd:eta=0.5 law=InsideSteps(3)"),
        samples_seen=256_000,
        seeds=(0,),
        n=1_000,
        log=LOG,
        out="runs/compare_digits",
    ),
    "checkerboard": Compare(
        "checkerboard",
        schedules=(f"{BOARD.alpha};{BOARD.beta}",),
        set=tuple(f"{name}:{' '.join(options)}" for name, options in STEADY.items()),
        samples_seen=2_457_600,  # 1,200 steps, for `lsd` some three minutes of a core
        seeds=(0,),
        n=20_000,
        batch=BOARD.batch,
        averages=BOARD.averages,
        network=BOARD.network,
        optimizer=BOARD.optimizer,
        hardware=HardwareConfig(compile="no"),
        log=LOG,
        out="runs/compare_checkerboard",
    ),
    "cifar10-16": replace(
        CIFAR, dataset="experiments._halved:halved", features="experiments._halved:doubled", samples_seen=64_000,
        seeds=(0,), n=500, out="runs/compare_cifar10-16",
    ),
    "cifar10-32": replace(CIFAR, samples_seen=32_000, seeds=(0,), n=500, out="runs/compare_cifar10-32"),
}  # fmt: skip
FREE = ("dataset", "data", "out", "jobs")  # what may be another without changing the protocol
BEST = 6


def measured(name: str, folder: Path = RESULTS) -> Comparison | None:
    """What the committed table of a protocol holds; None where it is not measured yet."""
    path = folder / f"compare_{name}.json"
    return Comparison.load(path) if path.is_file() else None


def best(count: int = BEST, folder: Path = RESULTS) -> tuple[str, ...]:
    """The rows of lowest mean rank over the numbers of calls of digits and checkerboard, those of a field left out.

    Raises:
        FileNotFoundError: if neither is measured yet.
    """
    found = [each for name in ("digits", "checkerboard") if (each := measured(name, folder))]
    if not found:
        raise FileNotFoundError(
            f"`methods` must be given, since no table in {folder.name}/ says which rows are best; measure digits first."
        )
    places: dict[str, list[int]] = {}
    for comparison in found:
        rows: Sequence[Row] = [row for row in comparison.rows if row.kind != "field"]
        methods = dict.fromkeys(row.outcomes[0].method for row in ranked(rows, comparison.steps))  # at its best variant
        for place, method in enumerate(methods):
            places.setdefault(method, []).append(place)
    known = {name: sum(own) for name, own in places.items() if len(own) == len(found)}
    return tuple(sorted(known, key=lambda name: known[name])[:count])


def settled(given: Compare) -> Compare:
    """The settings with the rows that are meant, and options of those alone that are compared."""
    if not given.methods:
        given = replace(given, methods=best())
    if "all" in given.methods:
        return given
    named = [name for word in given.methods for name in word.split(",")]
    for name in named:
        get_method(name)
    return replace(given, set=tuple(text for text in given.set if text.partition(":")[0] in named))


def go(words: Sequence[str]) -> None:
    """Carry a protocol out, and put what came of it where the page is made from."""
    if not words or words[0] not in PROTOCOLS:
        raise ValueError(f"The first word must be a protocol, one of {', '.join(PROTOCOLS)}, got {list(words[:1])}.")
    name, default = words[0], PROTOCOLS[words[0]]
    given = chosen(words[1:], f"python -m experiments.compare {name}", default)
    found = carried_out(settled(given))
    print(f"{found.markdown()}\n\n{found.findings()}")
    own = replace(given, **{free: getattr(default, free) for free in FREE})
    if own != default or any(outcome.verdict == "failed" for outcome in found.outcomes):
        print(f"This is not the whole protocol {name}: the table stays in {given.out}.")
        return
    found.save(RESULTS, f"compare_{name}")
    print(f"wrote {RESULTS.name}/compare_{name}.md, .png and .json; python docs/tables.py writes the page.")


if __name__ == "__main__":
    sys.exit(status(lambda: go(sys.argv[1:]), "compare"))

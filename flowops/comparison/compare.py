"""The comparison of training methods: planned, tried, carried out, written after every entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from flowops._arguments import whole
from flowops.comparison.axes import ALL, Variant, pairings, schedules, split_words, variants
from flowops.comparison.comparison import NAME, Comparison
from flowops.comparison.entry import Entry, Protocol
from flowops.comparison.outcome import FINAL, Outcome
from flowops.comparison.plan import LADDERS, Budget, budget_of, planned
from flowops.comparison.pool import carry_out
from flowops.comparison.trial import fault_of
from flowops.data import Dataset
from flowops.evaluation.scores import LEAST
from flowops.runs import TrainConfig
from flowops.runs.assembly import completed, dataset_of
from flowops.runs.folder import locked
from flowops.runs.progress import tell
from flowops.runs.provenance import provenance, without_folders
from flowops.runs.settings import check_config

OF_ENTRIES = (
    *("method", "options", "interpolant", "alpha", "beta", "gamma", "coupling", "coupling_options"),
    *("steps", "seed", "out"),
)
"""Settings of a run that a comparison chooses itself."""


def compare(
    config: TrainConfig,
    *,
    methods: Sequence[str],
    schedules: Sequence[str] = ("linear",),
    couplings: Sequence[str] = ("independent",),
    settings: Sequence[str] = (),
    presets: bool = False,
    samples_seen: int | None = None,
    seeds: Sequence[int] = (0, 1),
    protocol: Protocol | None = None,
    out: Path | str = "runs/compare",
    jobs: int = 1,
    report: Callable[[str], None] | None = None,
) -> Comparison:
    """Train every row on every schedule and coupling under every seed, at one budget, and measure all alike.

    What is in the folder from before is not run again, and a run that was interrupted goes on from its checkpoint. A
    comparison may be called again with further rows, schedules, couplings or seeds; other settings are refused.

    A row that distils is given one teacher, `fm` at the same budget, shared by all of that schedule, coupling and seed;
    a row whose teacher is the map of an earlier stage shares its budget with it. `config.teacher` takes their place.

    Args:
        config: the settings that all entries share; those in `OF_ENTRIES` are not looked at.
        methods: rows by name, `all` for those of the table; several in one text between commas.
        schedules: names, or formulas between semicolons, `1-t;t`.
        couplings: names, with options behind a blank, `optimal-transport block=256`.
        settings: options of rows, `lsd:eta=0.5 form=velocity`, each a variant in place of the defaults.
        presets: whether `all` holds rows that are others with the same settings too.
        samples_seen: images that every entry sees, rounded up to whole batches; without it the minutes of the settings,
            or what suits the data set.
        seeds: of each combination.
        protocol: how samples are measured.
        out: folder of the comparison: `runs/`, `compare.json`, `.md` and `.png`, written after every entry.
        jobs: entries that run side by side, each in a process of its own; 0 for this process, whose memory is then that
            of all entries together.
        report: is told a line now and then; the standard error if left out.

    Raises:
        ValueError, TypeError: for names and settings that do not exist, and for an entry that cannot run, before the
            first one runs; for the folder of another comparison.
        Interrupted, KeyboardInterrupt: after a signal; the same call goes on.
        OSError: for a folder that cannot be written.

    Cost: a training and an evaluation for each entry, and one batch of each to see whether it can run.
    """
    say = tell if report is None else report
    protocol = _checked(Protocol() if protocol is None else protocol)
    whole(jobs, "jobs", 0)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"`seeds` must be different and at least one, got {list(seeds)}; pass 0 and 1, say.")
    given = _axes(methods, settings, schedules, couplings, presets)
    folder, config = Path(out), replace(config, **{name: getattr(TrainConfig, name) for name in OF_ENTRIES})
    dataset = dataset_of(config)
    complete = completed(config, dataset.defaults, dataset.event)
    check_config(complete)
    budget = budget_of(complete, samples_seen)
    told = _told(complete, dataset, budget, protocol)
    _check_folder(folder)
    with locked(folder, say):
        _check_same(folder, told)
        entries, excluded = _possible(
            planned(config, budget, given, seeds, folder), dataset, ALL in split_words(methods)
        )
        return _carried_out(entries, excluded, protocol, folder, told, jobs, say)


def _axes(
    methods: Sequence[str], settings: Sequence[str], named: Sequence[str], coupled: Sequence[str], presets: bool
) -> tuple[tuple[Variant, ...], Any, Any]:
    """What is varied, each part checked."""
    found = variants(methods, settings, presets=presets)
    if ALL not in split_words(methods):
        for variant in found:
            if variant.method in LADDERS:
                raise ValueError(
                    f"`methods` must be rows that one run makes, and {variant.method} is not: "
                    f"{LADDERS[variant.method]}; drop it."
                )
    for each in (own := schedules(named)):
        _ = each.settings
    return found, own, pairings(coupled)


def _possible(
    entries: Sequence[Entry], dataset: Dataset, lenient: bool
) -> tuple[list[Entry], tuple[tuple[str, str], ...]]:
    """The entries that can run, and of `all` rows those that cannot with the reason.

    Raises:
        ValueError: for an entry that cannot, by its name, where its row was named.
    """
    excluded: dict[str, str] = {}
    possible = list[Entry]()
    tried: dict[tuple[Any, ...], str | None] = {}
    for entry in entries:
        if (why := LADDERS.get(entry.variant.method)) is None:
            kind = (entry.variant, entry.schedule, entry.pairing, entry.role)  # whatever the seed
            if kind not in tried:
                tried[kind] = None if Outcome.load(entry.outcome) else fault_of(entry, dataset)
            why = tried[kind]
        if why is None:
            possible.append(entry)
        elif not lenient or entry.role != "row":
            raise ValueError(
                f"`{entry.variant.label}` on {entry.schedule.label} with {entry.pairing.label} pairs must be able to "
                f"run, and it is not: {why.rstrip('.')}; nothing was run."
            )
        else:
            excluded.setdefault(entry.variant.label, why)
    names = {entry.name for entry in possible}
    return [entry for entry in possible if set(entry.needs) <= names], tuple(excluded.items())


def _carried_out(
    entries: Sequence[Entry],
    excluded: tuple[tuple[str, str], ...],
    protocol: Protocol,
    folder: Path,
    told: dict[str, Any],
    jobs: int,
    say: Callable[[str], None],
) -> Comparison:
    known = {
        entry.name: outcome
        for entry in entries
        if (outcome := Outcome.load(entry.outcome)) is not None and outcome.verdict in FINAL
    }
    facts = _facts(jobs)

    def so_far() -> Comparison:
        done = tuple(replace(known[e.name], role=e.role) for e in entries if e.name in known)
        waiting = tuple(e.name for e in entries if e.name not in known)
        return Comparison(told, facts, done, waiting, excluded)

    def finished(entry: Entry, outcome: Outcome) -> None:
        so_far().save(folder)
        values = ", ".join(f"{each.values[0]:.3g}" for each in outcome.measured) or f"{outcome.verdict} {outcome.told}"
        say(f"{entry.name}: {values} ({len(known)} of {len(entries)})")

    so_far().save(folder)
    say(f"{len(entries)} entries, {len(known)} of them finished before: {told['budget']}.")
    carry_out(entries, protocol, known, jobs, say, finished)
    return so_far()


def _checked(protocol: Protocol) -> Protocol:
    if not protocol.steps:
        raise ValueError("`steps` must hold at least one number of steps, got none; pass 1, 2 and 4, say.")
    for k in protocol.steps:
        whole(k, "steps")
    if protocol.n < LEAST:
        raise ValueError(f"`n` must be at least {LEAST} samples to be compared with data, got {protocol.n}; pass 5000.")
    if protocol.solver not in (None, "dopri5"):
        raise ValueError(f"`solver` must be dopri5 or none, got {protocol.solver!r}; pass one of them.")
    return protocol


def _told(config: TrainConfig, dataset: Dataset, budget: Budget, protocol: Protocol) -> dict[str, Any]:
    """What all entries share, in the words of the table and as the settings that must not change."""
    network = config.network
    shared = {name: value for name, value in asdict(config).items() if name not in (*OF_ENTRIES, "log", "data")}
    shared |= {name: without_folders(held) for name, held in shared.items() if isinstance(held, str)}
    own = asdict(protocol)
    return {
        "data": without_folders(dataset.provenance),
        "budget": str(budget),
        "network": " ".join((network.kind, *network.options, network.parameterization or "")),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in own.items()},
        "config": _listed(shared),
    }


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    if isinstance(value, dict):
        return {name: _listed(held) for name, held in value.items()}
    return [_listed(held) for held in value] if isinstance(value, tuple | list) else value


def _facts(jobs: int) -> dict[str, Any]:
    found = provenance("cuda" if torch.cuda.is_available() else "cpu")
    kept = ("date", "flowops_commit", "device", "system", "threads")
    return {**{name: found[name] for name in kept}, "torch": torch.__version__, "jobs": jobs}


def _check_folder(folder: Path) -> None:
    """Refuse a place where no folder can be.

    Raises:
        OSError: saying why.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
        if new:
            folder.rmdir()
    except OSError as error:
        raise type(error)(
            f"`out` must be a folder that can be written, and {folder} is not ({error.strerror}); choose another."
        ) from error


def _check_same(folder: Path, told: dict[str, Any]) -> None:
    """Refuse a folder with another comparison, or with something else.

    Raises:
        ValueError: naming what differs.
        FileExistsError: for a folder that holds something and no comparison.
    """
    file = folder / f"{NAME}.json"
    if not file.is_file():
        if any(path.name != ".lock" for path in folder.iterdir()):
            raise FileExistsError(
                f"`out` must be a new folder or that of a comparison, and {folder} holds something else; choose "
                f"another."
            )
        return
    before = Comparison.load(file).settings
    for name, value in _flat(told).items():
        if (held := _flat(before).get(name)) != value:
            raise ValueError(
                f"`out` must be the folder of this comparison, and {folder} is of another one: {name} is {held!r} "
                f"there and {value!r} here; choose another folder."
            )


def _flat(held: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name."""
    if not isinstance(held, dict):
        return {prefix.rstrip("."): held}
    found: dict[str, Any] = {}
    for name, value in held.items():
        found |= _flat(value, f"{prefix}{name}.")
    return found

"""Going on with a run under other settings: which may change, why others may not, and how a change is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from flowops.data import Dataset
from flowops.data.registry import ENTRIES
from flowops.runs.facts import Facts
from flowops.runs.folder import average_names
from flowops.runs.provenance import without_folders
from flowops.runs.settings import TrainConfig

_LOSS, _LAW = "the loss would be another", "what is learned would be another map"
FIXED: Mapping[str, str] = {
    "dataset": "other data make another run",
    "data_options": "other data make another run",
    "method": _LOSS,
    "options": _LOSS,
    "interpolant": _LAW,
    "alpha": _LAW,
    "beta": _LAW,
    "gamma": _LAW,
    "coupling": "what is paired with what is part of the loss",
    "coupling_options": "what is paired with what is part of the loss",
    "labels": "the network would be another",
    "label_dropout": _LOSS,
    "augment": "other data make another run",
    "batch": "it decides what a step is, and steps are counted",
    "seed": "all that is random in a step follows from it",
    "network": "the weights are those of this network",
    "optimizer.kind": "the optimizer's state is of this kind",
}
"""Settings, or groups of them, that a run keeps, and why. All others may change when it is resumed."""
UNTOLD = ("out", "log", "evaluate")
"""What may change without a word."""


@dataclass(frozen=True)
class Change:
    """A setting with another value than before, by its dotted name."""

    name: str
    before: Any
    after: Any

    def told(self, step: int) -> str:
        """A line for those who watch."""
        return f"`{self.name}` is {self.after!r} from step {step} on, before it was {self.before!r}."

    def plain(self, step: int) -> dict[str, Any]:
        """An entry of `run.json`, which names no folders of a machine."""
        before, after = (without_folders(v) if isinstance(v, str) else v for v in (self.before, self.after))
        return {"step": step, "setting": self.name, "before": before, "after": after}


def changes(config: TrainConfig, before: TrainConfig) -> list[Change]:
    """The settings that differ, in their order; both configurations are complete."""
    return [change for change in _differences(config, before) if not _within(change.name, UNTOLD)]


def check_resumable(config: TrainConfig, before: TrainConfig, *, average: bool) -> None:
    """Refuse to resume a run under settings that make it another run; both are complete.

    Args:
        config: asked for.
        before: of the run.
        average: whether the method looks at the first average of the weights.

    Raises:
        ValueError: naming each of them, what it was, what is asked for, and why it stays.
    """
    refused = []
    for change in changes(config, before):
        why = next((why for name, why in FIXED.items() if _within(change.name, (name,))), None)
        if why is not None and not (change.name == "dataset" and _kind(change.before) == _kind(change.after)):
            refused.append((change, why))
    names, old = average_names(config), average_names(before)
    if average and names[0] != old[0]:
        why = "the method looks at the first average"
        refused += [(change, why) for change in changes(config, before) if change.name in ("averages", "power")]
    if refused:
        (first, why), *others = refused
        told = [f"`{first.name}` must stay {first.before!r} to resume this run, got {first.after!r} ({why})"]
        told += [f"`{c.name}` must stay {c.before!r}, got {c.after!r} ({why})" for c, why in others]
        raise ValueError(f"{'; '.join(told)}; drop {'them' if others else 'it'}, or choose another folder as `out`.")


def check_same_data(dataset: Dataset, facts: Facts) -> None:
    """Refuse to resume a run on data with another fingerprint; where they lie does not matter.

    Raises:
        ValueError: with what the run was trained on, and what was given.
    """
    content = dataset.provenance.removeprefix(f"{dataset.name}: ")
    if facts.data and facts.data != dataset.provenance and not facts.data.endswith(f": {content}"):
        raise ValueError(
            f"`dataset` must stay {facts.data!r} to resume this run, got {dataset.provenance!r}; say where those data "
            f"are, or choose another folder as `out`."
        )


def _differences(config: Any, before: Any, prefix: str = "") -> list[Change]:
    found = []
    for f in fields(config):
        old, new, name = getattr(before, f.name), getattr(config, f.name), prefix + f.name
        if is_dataclass(new):
            found += _differences(new, old, f"{name}.")
        elif new != old:
            found.append(Change(name, old, new))
    return found


def _within(name: str, groups: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the groups, or in one."""
    return any(name == group or name.startswith(f"{group}.") for group in groups)


def _kind(name: str) -> str:
    """The name of a data set without the place of its files."""
    head = name.partition(":")[0]
    return head if head in ENTRIES and ENTRIES[head].place == "path" else name

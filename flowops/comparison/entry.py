"""One run of a comparison: its settings, what must be trained before it, and what it measures its samples by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from flowops.comparison.axes import Pairing, Schedule, Variant, slug
from flowops.runs import TrainConfig
from flowops.runs.folder import from_plain

Role = Literal["row", "teacher", "stage"]
LONGEST = 80  # letters of a name that are told in full


@dataclass(frozen=True)
class Protocol:
    """How every entry is measured.

    Attributes:
        steps: numbers of network calls along the map.
        n: samples of each sampler.
        features: features of images, pixels if left out.
        split: split of the data.
        solver: solver of the map's own field beside it; none if left out.
        metrics: further columns.
        certificates: whether the error of one step against the map's own field is estimated.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8)
    n: int = 5000
    features: str | None = None
    split: str = "train"
    solver: str | None = "dopri5"
    metrics: tuple[str, ...] = ()
    certificates: bool = True

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Protocol:
        """The protocol of names and values that JSON gave back."""
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in held.items()}
        return cls(**values)


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        name: of its folder.
        variant: its row with options.
        schedule: its schedule.
        pairing: its coupling.
        config: the settings of the run, complete but for what the data set names.
        role: whether it is a row of the table, or trained for others only.
        needs: names of the entries that are trained before it.
        images: images that it sees; None where the clock ends it.
    """

    name: str
    variant: Variant
    schedule: Schedule
    pairing: Pairing
    config: TrainConfig
    role: Role = "row"
    needs: tuple[str, ...] = ()
    images: int | None = field(default=None)

    @property
    def folder(self) -> Path:
        """The folder of its run."""
        return Path(self.config.out)

    @property
    def outcome(self) -> Path:
        """The file with what came of it."""
        return self.folder / "outcome.json"

    def plain(self) -> dict[str, Any]:
        """The same as names and values."""
        return asdict(self)

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Entry:
        """The entry that `plain` gave."""
        variant = held["variant"]
        return cls(
            held["name"], Variant(variant["method"], tuple(variant["options"])), Schedule(held["schedule"]["label"]),
            Pairing(held["pairing"]["label"]), from_plain(TrainConfig, dict(held["config"]), "the comparison"),
            held["role"], tuple(held["needs"]), held["images"],
        )  # fmt: skip


def name_of(variant: Variant, schedule: Schedule, pairing: Pairing, seed: int, role: Role = "row") -> str:
    """The name of the folder of an entry, the same in every comparison; what a folder cannot be called is hashed."""
    whole = "|".join((variant.label, schedule.label, pairing.label))
    parts = [slug(part) for part in (variant.label, schedule.label, pairing.label)]
    name = "--".join(parts)
    if parts != [variant.label, schedule.label, pairing.label] or len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.blake2b(whole.encode(), digest_size=3).hexdigest()}"
    return f"{name}--{seed}" + ("" if role == "row" else f"--{role}")

"""What `run.json` says of a run beside its settings: what its samples are, on which data, and what was changed when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowops.data import Units


@dataclass(frozen=True)
class Facts:
    """What a run must know of itself to be read and to go on.

    Attributes:
        event: shape of a sample.
        classes: names of the classes, empty if the map knows none.
        paired: whether the data come with base samples of their own.
        guided: whether a scale of guidance is an input of the network.
        data: the provenance of the data.
        changes: settings that were changed when the run was resumed: `step`, `setting`, `before`, `after`.
        joint: whether the network has a second output, the rate of a log-determinant.
        interval: whether an interval of guidance is an input of the network.
        auxiliary: whether the network has a second output, a velocity.
        units: how the data became states.
        condition: shape of the conditions with continuous values that the map takes, or None.
    """

    event: torch.Size
    classes: tuple[str, ...]
    paired: bool
    guided: bool
    data: str
    changes: list[dict[str, Any]]
    joint: bool = False
    interval: bool = False
    auxiliary: bool = False
    units: Units = Units()
    condition: torch.Size | None = None

    @property
    def wanted(self) -> dict[str, bool]:
        """What the network is built with, as in `Method.wanted`."""
        own = {"guidance": self.guided, "interval": self.interval}
        return {**own, "log_det": self.joint, "auxiliary": self.auxiliary}


def read_facts(path: Path) -> Facts:
    """The facts in a file.

    Raises:
        ValueError: if it is not that of a run.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        event, classes = torch.Size(held["event"]), tuple(map(str, held["classes"]))
        if any(length < 1 for length in event):
            raise ValueError
        changes = [{**change, "step": int(change["step"])} for change in held.get("changes", [])]
        paired, guided = bool(held["paired"]), bool(held["guided"])
        later = {name: bool(held.get(name, False)) for name in ("joint", "interval", "auxiliary")}
        condition = torch.Size(held["condition"]) if held.get("condition") else None
        units = Units.read(held["units"]) if "units" in held else Facts.units
        return Facts(
            event,
            classes,
            paired,
            guided,
            str(held.get("data", "")),
            changes,
            **later,
            units=units,
            condition=condition,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"`{path}` must hold event, classes, paired and guided, and does not; use another run."
        ) from error

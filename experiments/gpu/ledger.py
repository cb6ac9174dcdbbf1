"""The JSON file of a stage: what was measured, on what, and what could not be, whole after every measurement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from flowops._files import write_text
from flowops.runs.provenance import provenance

ATTEMPTS = 2  # of a measurement that ends its process; after these it is given up
SEED = 0


class Ledger:
    """The file of a stage; it is written anew after every change.

    Attributes:
        content: what it holds: stage, seed, whether it is `tiny` and `finished`, `calls` (date, command, commit,
            versions and device of each), `results` and `failed` by measurement, and `attempts` at those under way.

    Args:
        path: the file; what it holds already is kept, if it is of the same kind.
        device: where the measurements are made.
        tiny: whether they are only tried out.
        again: forget what it holds.
    """

    def __init__(self, path: Path, device: torch.device, *, tiny: bool, again: bool = False) -> None:
        self.path = path
        fresh: dict[str, Any] = {"stage": path.stem, "seed": SEED, "tiny": tiny, "finished": False}
        fresh |= {"calls": [], "results": {}, "failed": {}, "attempts": {}}
        held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not again else fresh
        if held["tiny"] != tiny:
            raise ValueError(
                f"{path} must hold measurements of the same kind, got {'tiny' if held['tiny'] else 'full'} ones; pass "
                f"--again to replace them, or another --folder."
            )
        self.content = held
        self.device = device

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be measured."""
        return bool(self.content["finished"])

    def begin(self, names: Iterable[str] = ()) -> None:
        """Note a call; where all of these measurements have failed, they are made once more."""
        if self.content["failed"].keys() == set(names):
            self.content["failed"] = {}
        self.content["calls"].append(provenance(self.device))
        self.write()

    def lacks(self, name: str) -> bool:
        """Whether a measurement has neither failed nor numbers; those that say they are not `done` are too few."""
        held = self.content["results"].get(name)
        return name not in self.content["failed"] and (held is None or held.get("done") is False)

    def wants(self, name: str) -> bool:
        """Whether a measurement is still to be made; one that ended its process twice is given up."""
        if not self.lacks(name):
            return False
        if self.content["attempts"].get(name, 0) < ATTEMPTS:
            return True
        self.fail(name, f"It was begun {ATTEMPTS} times and ended its process, or the time did.")
        return False

    def attempt(self, name: str) -> None:
        """Note that a measurement is begun."""
        attempts = self.content["attempts"]
        attempts[name] = attempts.get(name, 0) + 1
        self.write()

    def keep(self, name: str, numbers: dict[str, Any]) -> None:
        """Note its numbers, with the number of the call."""
        self.content["results"][name] = {**numbers, "call": len(self.content["calls"])}
        self.content["attempts"].pop(name, None)
        self.write()

    def fail(self, name: str, why: str) -> None:
        """Note why there are none."""
        self.content["failed"][name] = why
        self.content["attempts"].pop(name, None)
        self.write()

    def finish(self) -> None:
        """Note that nothing is left."""
        self.content["finished"] = True
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_text(self.path, json.dumps(self.content, indent=1) + "\n")

"""A tracker, and what it was told of a run: its name for it, and how far. It takes no row back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowops._files import write_text
from flowops.training.loggers.logger import Logger, Picture


class Sent:
    """The identity of a run at a tracker and the last step it was told, in a small file beside the run.

    A run that goes on repeats the steps behind its checkpoint. It has the same identity, and what the tracker has is
    not sent again.

    Args:
        path: the file; its folder is created.
        resumed: whether the run goes on; a new one gets a new identity.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path, *, resumed: bool) -> None:
        held = _read(path) if resumed else None
        self._path, self.known = path, held is not None
        self.identity: str = held["id"] if held else secrets.token_hex(4)
        self.before: int = held["step"] if held else 0
        self._last = self.before
        self._write()

    def new(self, step: int) -> bool:
        """Whether the tracker was not told of this step before the run went on."""
        return step > self.before

    def note(self, step: int) -> None:
        """It is told of a step now."""
        if step > self._last:
            self._last = step
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, json.dumps({"id": self.identity, "step": self._last}) + "\n")


class Tracker(Logger):
    """A logger of a library that holds runs: rows of steps that are done again are not told twice.

    `begin` of a subclass sets `run`, which has `log(values, step=...)`, `image`, which makes one of the library's
    pictures, and `sent`.
    """

    run: Any = None
    image: Any
    sent: Sent

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, values)

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        self._log(step, {name: self.image(picture) for name, picture in pictures.items()})

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        if self.run is not None and self.sent.new(step):
            self.run.log(dict(values), step=step)
            self.sent.note(step)


def _read(path: Path) -> dict[str, Any] | None:
    """What was written; None where there is nothing that can be read."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {"id": str(held["id"]), "step": int(held["step"])}
    except (OSError, ValueError, TypeError, KeyError):
        return None

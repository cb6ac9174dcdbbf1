"""Why a run stops before its last step: a signal, or losses that are not finite."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

from flowops.training.loss_module import Outcome


class Interruption:
    """Notes Ctrl-C and the signal that ends a job; a second one is not caught. A context manager.

    Signals are noted in the main thread only, where Python delivers them; elsewhere this does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.noted: str | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        else:
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class Interrupted(Exception):
    """A signal ended a run before its last step; a checkpoint was written.

    Attributes:
        signal: its name, such as SIGINT.
    """

    def __init__(self, step: int, steps: int, folder: Path, signal: str) -> None:
        super().__init__(f"Interrupted after step {step} of {steps}; go on with --resume --out {folder}.")
        self.signal = signal


class NotFinite(RuntimeError):
    """The loss was not finite for several steps in a row."""


class FiniteSteps:
    """Counts the steps that are skipped because their loss or gradient is not finite.

    Args:
        patience: number of them in a row after which the run stops.
        total: number of them so far.
    """

    def __init__(self, patience: int, total: int = 0) -> None:
        self.patience, self.total, self.row = patience, total, 0

    def note(self, finite: bool) -> None:
        """Count one step."""
        self.row = 0 if finite else self.row + 1
        self.total += not finite

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end."""
        return self.row >= self.patience

    def explain(self, step: int, outcomes: list[Outcome]) -> str:
        """The sentences with which the run ends: what was not finite, where, and how to replay it."""
        found = [str(fault) for outcome in outcomes if (fault := outcome.result().nonfinite()) is not None]
        where = found[0] if found else "The loss is finite, its gradient is not."
        return (
            f"Stopped at step {step}: {self.row} steps in a row had no finite loss or gradient. {where} The last good "
            f"checkpoint is kept; lower optimizer.rate, or choose another weight or norm."
        )

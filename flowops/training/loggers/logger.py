"""What a logger is, and what it is told of the run that begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flowops.runs import RunFolder, TrainConfig

Picture: TypeAlias = NDArray[np.uint8]
End: TypeAlias = Literal["finished", "interrupted", "failed"]
"""How a run ended: with its last step, by a signal after which it can go on, or by an error."""


@dataclass(frozen=True)
class RunStart:
    """What is known of a run when it begins, or goes on.

    Attributes:
        folder: where it is written.
        config: every setting.
        facts: what stands in `run.json`: versions, device, data and their shape.
        columns: names of the values of every row; those of the terms of the loss come besides.
        step: number of steps that were done before, 0 for a new run. Rows beyond it will come again.
    """

    folder: RunFolder
    config: TrainConfig
    facts: Mapping[str, Any]
    columns: tuple[str, ...]
    step: int


@runtime_checkable
class Logger(Protocol):
    """Where a run tells what it measures; a subclass writes the methods that it wants, the others do nothing.

    It is made before the run begins and used by the first process alone. `ImportError`, `TypeError` and `ValueError` of
    `begin` refuse the run before its first step. Whatever else a method raises costs a line in the log of the run: a
    logger whose `begin` failed is left out from then on.

    Attributes:
        what: what is missing when it fails, for that line.

    >>> class Printed(Logger):
    ...     def scalars(self, step, values):
    ...         print(step, values["loss"])
    >>> isinstance(Printed(), Logger)
    True
    """

    what: str = "row of a logger"

    def begin(self, start: RunStart) -> None:
        """The run begins, or goes on after `start.step` steps."""
        return

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A row of numbers: `start.columns`, and `loss/<term>` for each term of the loss."""
        return

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        """Pictures by name, bytes `[height, width, 3]` each; a run draws none unless it has samples to be drawn."""
        return

    def finish(self, why: End) -> None:
        """The run ended; nothing follows."""
        return

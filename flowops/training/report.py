"""What is told of a step that is done: to the record of the run, and to the callbacks of the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from flowops.methods import Draw, MethodResult
from flowops.runs import Run


@dataclass(frozen=True, eq=False)
class StepReport:
    """A step that is done; what is on the device costs a synchronization to read.

    Attributes:
        step: its number, counted from 1.
        done: the part of the training that is done, in (0, 1].
        draw: what this process drew, its rows of the joint batch.
        results: the result of each part of it, without graphs.
        norm: norm of the gradient before it was clipped, 0-d.
        most: largest norm that was allowed, 0-d; infinite without a limit.
        rate: learning rate.
        skipped: number of steps so far whose gradient was not finite, and which changed nothing, 0-d.
        waited: seconds that were spent waiting for data so far.
        run: makes the `Run` of the averaged weights as they are now; it shares them, so look at it at once.
    """

    step: int
    done: float
    draw: Draw
    results: list[MethodResult]
    norm: Tensor
    most: Tensor
    rate: float
    skipped: Tensor
    waited: float
    run: Callable[[], Run]


Callback = Callable[[StepReport], object]

"""The processes of a run: how many, on which devices, what they must agree on, and what ends them early."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from flowops._named import require
from flowops.methods import MethodResult

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from flowops.runs import HardwareConfig

T = TypeVar("T")


def launched(hardware: HardwareConfig) -> Fabric:
    """The processes of the configuration, or those that torchrun or SLURM have started, each with its device.

    Precision is left to the loss module: what Fabric would convert to bfloat16 includes the times.

    Raises:
        ValueError: for a device that is not there, and for processes that do not find each other.
    """
    devices, nodes = started() or (hardware.devices, hardware.nodes)
    strategy = "ddp" if devices * nodes > 1 else hardware.strategy
    try:
        fabric: Fabric = require("lightning.fabric", "train").Fabric(
            accelerator=hardware.accelerator, devices=devices, num_nodes=nodes, strategy=strategy
        )
    except RuntimeError as error:
        raise ValueError(
            f"`hardware.accelerator` must be one that this machine has, got {hardware.accelerator} for {devices} "
            f"devices: {str(error).splitlines()[0]}"
        ) from error
    fabric.launch()
    return fabric


def started() -> tuple[int, int] | None:
    """Processes on each machine and machines, where torchrun or a SLURM job step has started them; else None."""
    e = os.environ
    if "TORCHELASTIC_RUN_ID" in e:
        local, world = int(e["LOCAL_WORLD_SIZE"]), int(e["WORLD_SIZE"])
        return local, world // local
    if "SLURM_PROCID" in e and int(e.get("SLURM_NTASKS", "1")) > 1:
        tasks, nodes = int(e["SLURM_NTASKS"]), int(e.get("SLURM_NNODES", "1"))
        return tasks // nodes, nodes
    return None


def together(fabric: Fabric, work: Callable[[], T]) -> T:
    """What `work` returns on each process; a fault of any is raised on all, so that none waits for one that is gone."""
    fault: Exception | None = None
    try:
        result = work()
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
        fault = error
    if faults := [found for found in gathered(fabric, fault) if found is not None]:
        raise fault or faults[0]
    return result


def on_first(fabric: Fabric, work: Callable[[], None]) -> None:
    """Let the first process do `work`; the others wait for it, and share its fault."""
    together(fabric, work if fabric.is_global_zero else _nothing)


def _nothing() -> None:
    """The work of the others."""


def gathered(fabric: Fabric, value: Any) -> list[Any]:
    """The value of every process, on every process."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


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
        of = f" of {steps}" if steps else ""
        super().__init__(f"Interrupted after step {step}{of}; go on with resume=True and out={folder}.")
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
        self.patience, self.total, self.streak = patience, total, 0

    def note(self, finite: bool) -> None:
        """Count one step."""
        self.streak = 0 if finite else self.streak + 1
        self.total += not finite

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end."""
        return self.streak >= self.patience

    def explain(self, step: int, results: list[MethodResult]) -> str:
        """The sentences with which the run ends: what was not finite, where, and how to replay it."""
        found = [str(fault) for result in results if (fault := result.nonfinite()) is not None]
        where = found[0] if found else "The loss is finite, its gradient is not."
        return (
            f"Stopped at step {step}: {self.streak} steps in a row had no finite loss or gradient. {where} The last "
            f"good checkpoint is kept; lower `optimizer.rate`, or choose another weight or norm."
        )

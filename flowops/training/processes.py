"""The processes of a run: how many, on which devices, what they must agree on, and what ends them early."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

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


@contextmanager
def kernels(hardware: HardwareConfig, device: torch.device) -> Iterator[None]:
    """How CUDA multiplies in float32 and picks its convolutions, by the settings; what was set before comes back."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    try:
        torch.set_float32_matmul_precision(hardware.float32)
        cudnn.allow_tf32, cudnn.benchmark = hardware.float32 != "highest", hardware.autotune
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]


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


def first_alone(fabric: Fabric, work: Callable[[], T]) -> T:
    """What `work` returns on each process; the first does it before the others begin: it packs or fetches for all."""
    done: list[T] = []
    on_first(fabric, lambda: done.append(work()))
    return together(fabric, lambda: done[0] if done else work())


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
    """Notes Ctrl-C and the signals that end a job, so that the step and its checkpoint are finished. A context manager.

    None of them, however often it comes, stops a checkpoint that is being written, but for Ctrl-C: the third one ends
    the process at once. Signals are noted in the main thread only, where Python delivers them; elsewhere this does
    nothing.
    """

    SIGNALS = tuple(
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
    )  # the last is what `sbatch --signal=USR1@120` sends

    def __init__(self) -> None:
        self.noted: str | None = None
        self.keys = 0  # how often Ctrl-C was pressed

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        else:
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = self.noted or signal.Signals(number).name
        self.keys += number == signal.SIGINT
        if number == signal.SIGINT and self.keys == 2 and _is_first():
            text = b"The step and its checkpoint are being finished; Ctrl-C once more ends at once, without them.\n"
            with suppress(OSError):
                os.write(2, text)  # a handler may interrupt whatever else writes there
        if number == signal.SIGINT and self.keys >= 3:
            raise KeyboardInterrupt


def _is_first() -> bool:
    """Whether this process is the only one, or the first of several."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not together or torch.distributed.get_rank() == 0


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
    """Counts the steps that are skipped because their loss or gradient is not finite, on the device.

    Attributes:
        total: number of them so far, 0-d.
        streak: number of them in a row up to now, 0-d.

    Args:
        patience: number of them in a row after which the run stops.
        device: where the gradients are.
    """

    def __init__(self, patience: int, device: torch.device | str = "cpu") -> None:
        self.patience, self.device = patience, torch.device(device)
        self.restore(0, 0)

    def restore(self, total: int, streak: int) -> None:
        """Go on from these numbers."""
        self.total, self.streak = (torch.full((), n, dtype=torch.long, device=self.device) for n in (total, streak))

    def note(self, finite: Tensor) -> None:
        """Count one step, of a 0-d boolean on the device; the host does not wait."""
        missed = (~finite).long()
        self.total, self.streak = self.total + missed, (self.streak + missed) * missed

    def read(self) -> tuple[int, int]:
        """Total and streak; the host waits for the device."""
        total, streak = torch.stack([self.total, self.streak]).tolist()
        return total, streak

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end; the host waits for the device."""
        return self.read()[1] >= self.patience

    def explain(self, step: int, results: list[MethodResult]) -> str:
        """The sentences with which the run ends: what was not finite, where, and how to replay it."""
        found = [str(fault) for result in results if (fault := result.nonfinite()) is not None]
        where = found[0] if found else "The loss is finite, its gradient is not."
        return (
            f"Stopped at step {step}: {self.read()[1]} steps in a row had no finite loss or gradient. {where} The last "
            f"good checkpoint is kept; lower `optimizer.rate`, or choose another weight or norm."
        )

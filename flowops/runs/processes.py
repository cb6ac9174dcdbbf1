"""The processes of a run: how many, on which devices, what they tell each other, and what ends them early.

Where torch has a process group, what is `told`, `gathered` or done `together` must be called by every process of it;
one process alone needs none.
"""

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
from torch import distributed

from flowops._named import require
from flowops.runs.settings import HardwareConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")
FAULTS = (OSError, ValueError, TypeError, ImportError, RuntimeError)
"""What one process raises and all are told."""


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


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _grouped() else 1


def rank() -> int:
    """The number of this process among them."""
    return distributed.get_rank() if _grouped() else 0


def share(n: int) -> range:
    """The numbers below `n` that this process takes: a stretch of them, so that those of all are in order."""
    return range(n * rank() // ranks(), n * (rank() + 1) // ranks())


def gathered(value: Any) -> list[Any]:
    """The value of every process, on every process."""
    if ranks() == 1:
        return [value]
    values: list[Any] = [None] * ranks()
    distributed.all_gather_object(values, value)
    return values


def together(work: Callable[[], T]) -> T:
    """What `work` gives on each process; a fault of any is raised on all, so that none waits for one that is gone."""
    value, fault = _tried(work)
    if faults := [found for found in gathered(fault) if found is not None]:
        raise fault or faults[0]
    return value  # type: ignore[return-value]


def collected(work: Callable[[], T]) -> list[T]:
    """What `work` gives on each process, on the first one; empty on the others. A fault of any is raised on all."""
    value = together(work)
    if ranks() == 1:
        return [value]
    values: list[Any] = [None] * ranks()
    distributed.gather_object(value, values if rank() == 0 else None)
    return values if rank() == 0 else []


def told(work: Callable[[], T]) -> T:
    """What `work` gives on the first process, on all of them; the others wait. Its fault is raised on all."""
    found: list[Any] = [_tried(work) if rank() == 0 else None]
    if ranks() > 1:
        distributed.broadcast_object_list(found)
    value, fault = found[0]
    if fault is not None:
        raise fault
    return value


def on_first(work: Callable[[], T]) -> T | None:
    """What `work` gives on the first process, which need not travel; None on the others. Its fault is raised on all."""
    made: list[T] = []
    told(lambda: made.append(work()))
    return made[0] if made else None


def first_alone(work: Callable[[], T]) -> T:
    """What `work` gives on each process; the first does it before the others begin: it packs or fetches for all."""
    done: list[T] = []
    on_first(lambda: done.append(work()))
    return together(lambda: done[0] if done else work())


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except FAULTS as fault:
        return None, fault


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
        if number == signal.SIGINT and self.keys == 2 and rank() == 0:
            text = b"The step and its checkpoint are being finished; Ctrl-C once more ends at once, without them.\n"
            with suppress(OSError):
                os.write(2, text)  # a handler may interrupt whatever else writes there
        if number == signal.SIGINT and self.keys >= 3:
            raise KeyboardInterrupt


class Interrupted(Exception):
    """A signal ended a run before its last step; a checkpoint of the steps that were done is there.

    Attributes:
        signal: its name, such as SIGINT.
    """

    def __init__(self, step: int, steps: int, folder: Path, signal: str) -> None:
        of = f" of {steps}" if steps else ""
        super().__init__(f"Interrupted after step {step}{of}; go on with resume=True and out={folder}.")
        self.signal = signal

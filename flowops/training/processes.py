"""The processes of a run: how many, on which devices, and what they must agree on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from flowops._extras import require

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from flowops.training.config import HardwareConfig

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

"""The whole step of a training, by the engine itself, on a pretended device."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowops.data import Batch, open_dataset
from flowops.interpolants import linear
from flowops.runs import HardwareConfig, OptimizerConfig, RunFolder, TrainConfig
from flowops.runs.assembly import Assembly, method_of
from flowops.training.engine import Engine
from flowops.training.joint_batch import JointBatches
from flowops.training.loss_module import LossModule
from flowops.training.record import Record
from tests.devices.cases import CUDA, META, NARROW, Body, Case, Device, Group
from tests.devices.methods import teacher_of
from tests.devices.operators import learned, unet

BATCH = 8


class Alone:
    """In the place of Fabric: one process, on a device that this machine does not have."""

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device: Device, module: nn.Module) -> None:
        self.pretended, self.device, self.module = device, torch.device(device.device), module

    def setup(self, module: nn.Module) -> nn.Module:
        """Nothing is wrapped."""
        return module

    def backward(self, loss: Tensor) -> None:
        """The gradient; one of zeros, where a reverse pass cannot be pretended."""
        if self.pretended.differentiates:
            loss.backward()
            return
        for p in self.module.parameters():
            p.grad = torch.zeros_like(p)

    def no_backward_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        """There is nobody to wait for."""
        return nullcontext()

    def all_reduce(self, value: Tensor, reduce_op: str = "mean") -> Tensor:
        """Nobody else adds to it."""
        return value


def step(changed: Mapping[str, Any], device: Device) -> Body:
    """A step of the engine and what the record keeps of it, between two looks of the host at the device.

    Batch, draw, loss, backward, clip, update, averages, counts, telemetry. The first step is not watched: it moves what
    counts to the device, once in a run.
    """
    settings = {"method": "lsd", "steps": 100_000, "batch": BATCH, "averages": (0.999,), "power": (0.05,), **changed}
    pictures = settings.pop("pictures", False)
    config = TrainConfig("moons", **settings)
    config = replace(config, hardware=replace(config.hardware, look_every=10_000, compile="no"))
    make = unet if pictures else learned
    X, held = device.module(make), device.module(lambda: make().requires_grad_(False))
    method = device.module(lambda: method_of(config).with_options(label_dropout=0.1))
    average = device.module(lambda: make().requires_grad_(False)) if method.options.ema_teacher else None
    I = device.module(linear)
    module = LossModule(X, method, I, teacher_of(method, held), average, config.hardware)
    fabric: Any = Alone(device, module)
    assembly = Assembly(I, open_dataset("moons"), X.network, method, None, conditional=True)
    folder = RunFolder(Path("nowhere"))
    record = Record(config, folder, fabric, module, 0, None)
    engine = Engine(config, assembly, module, fabric, folder, print, (record,))
    engine._begun = time.monotonic()
    x1 = device.zeros(BATCH, 3, 8, 8) if pictures else device.zeros(BATCH, 2)
    data = Batch(None, x1, device.zeros(BATCH, dtype=torch.long))
    batches = JointBatches(BATCH, 0, assembly, module, fabric.device, 0)
    batches.close()

    def run() -> None:
        record(engine._advance(batches.draw(data, engine.step), batches))

    run()
    return run


STEPS: dict[str, dict[str, Any]] = {
    "`fm`": {"method": "fm"},
    "`lsd`, learned weight": {"options": {"weight": "learned"}},
    "`meanflow`": {"method": "meanflow"},
    "`lmd`, AdamW, rate of a cosine": {"method": "lmd", "optimizer": OptimizerConfig("adamw", schedule="cosine")},
    "`psd-m`, Muon, no clip": {"method": "psd-m", "optimizer": OptimizerConfig("muon", clip=0.0)},
    "`shortcut`, its own average": {"method": "shortcut", "options": {"ema_teacher": True}},
    "`ict`": {"method": "ict"},
    "`ect`": {"method": "ect"},
    "`scm`, warm-up": {"method": "scm", "options": {"warmup": 100}},
    "`alpha-flow`": {"method": "alpha-flow"},
    "`lsd` in parts": {"hardware": HardwareConfig(accumulate=2)},
    "`lsd`, activations computed again": {"hardware": HardwareConfig(recompute=2)},
    "`lsd`, a U-Net in bfloat16": {"pictures": True, "hardware": HardwareConfig(precision="bf16")},
    "`meanflow`, a U-Net in bfloat16": {
        "pictures": True,
        "method": "meanflow",
        "hardware": HardwareConfig(precision="bf16"),
    },
}
STEP_GROUPS = (
    Group(
        "The whole step of the engine",
        tuple(Case(name, partial(step, changed)) for name, changed in STEPS.items()),
        (META, CUDA, NARROW),
    ),
    Group(  # on other devices it counts its steps on the CPU
        "The same with RAdam",
        (Case("`lsd`", partial(step, {"optimizer": OptimizerConfig("radam")})),),
        (CUDA,),
    ),
)

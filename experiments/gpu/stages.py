"""The stages that measure: the step of every loss, the ceiling of the device, where the time goes, samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.needs import Counter
from experiments.gpu.profile import profiled
from experiments.gpu.recipe import LOSSES, Setting, halved_until_it_fits, scratch
from experiments.gpu.timing import Enough, Ticks, rounded, timed
from flowops.interpolants import linear
from flowops.methods import Learned, get_method
from flowops.networks import LearnedWeight
from flowops.runs import HardwareConfig, Run, RunFolder
from flowops.sampling import noise
from flowops.training import LossModule, train

Measure = Callable[[], dict[str, Any]]
STEPS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Stage:
    """A part of the battery.

    Attributes:
        about: a line for the list.
        measures: what it measures in a setting, by name, given the seconds that are left when it is asked; one whose
            numbers say that it is not `done` goes on at every call until they do.
        keeps: the folder from which it goes on, removed when it begins anew; None if there is none.
    """

    about: str
    measures: Callable[[Setting, Callable[[], float]], dict[str, Measure]]
    keeps: Callable[[Setting], Path] | None = None


def ticked(setting: Setting, loss: str, compiled: bool, batch: int, ticks: Ticks) -> None:
    """Train until the ticks have had enough."""
    with scratch() as out, suppress(Enough):
        config = setting.config(loss, compiled=compiled, out=out, batch=batch)
        teacher = setting.teacher(loss, compiled)
        train(config, dataset=setting.dataset, teacher=teacher, report=_nothing, callbacks=[ticks])


def step(setting: Setting, loss: str, compiled: bool) -> dict[str, Any]:
    """Time and memory of a step of the engine: batch, draw, loss, gradient, update, averages, telemetry."""
    warmup, count = (2, 3) if setting.tiny else (10, 50)

    def measured(batch: int) -> dict[str, Any]:
        ticks = Ticks(setting.device, warmup, count)
        ticked(setting, loss, compiled, batch, ticks)
        return ticks.numbers(batch)

    return halved_until_it_fits(setting.batch, measured)


def steps(setting: Setting, _left: Callable[[], float], *, compiled: bool) -> dict[str, Measure]:
    """The step of every loss."""
    losses = ("fm", "lsd") if setting.tiny and compiled else LOSSES
    return {loss: partial(step, setting, loss, compiled) for loss in losses}


def product(setting: Setting, dtype: torch.dtype, size: int) -> dict[str, Any]:
    """A product of two large square matrices, the ceiling of arithmetic."""
    a, b = torch.randn(2, size, size, device=setting.device).to(dtype)
    found = timed(setting.device, lambda: a @ b, 5, 5 if setting.tiny else 50)
    return {"size": size, **found, "tflops": rounded(2 * size**3 / found["ms"] * 1e-9)}


def convolution(setting: Setting, batch: int, channels: int) -> dict[str, Any]:
    """A convolution of the kind that the network is made of, in bfloat16."""
    x = torch.randn(batch, channels, 32, 32, device=setting.device).to(torch.bfloat16)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=setting.device, dtype=torch.bfloat16)
    x, layer = x.to(memory_format=torch.channels_last), layer.to(memory_format=torch.channels_last)
    with torch.no_grad():
        found = timed(setting.device, lambda: layer(x), 5, 5 if setting.tiny else 50)
    operations = 2 * 9 * channels**2 * batch * 32 * 32
    return {"batch": batch, "channels": channels, **found, "tflops": rounded(operations / found["ms"] * 1e-9)}


def copying(setting: Setting, megabytes: int) -> dict[str, Any]:
    """A copy within the memory, the ceiling of everything that computes little; bytes are counted read and written."""
    source = torch.randn(megabytes * 10**6 // 4, device=setting.device)
    target = torch.empty_like(source)
    found = timed(setting.device, lambda: target.copy_(source), 5, 5 if setting.tiny else 50)
    return {"megabytes": megabytes, **found, "gb_per_second": rounded(2 * megabytes / found["ms"])}


def operations(setting: Setting, loss: str) -> dict[str, Any]:
    """The operations of products and convolutions in a loss and its gradient, for each sample, uncompiled."""
    batch = 4 if setting.tiny else 32
    weight = Learned(LearnedWeight(128, generator=torch.Generator().manual_seed(0))).to(setting.device)
    offered = {option.name for option in get_method(loss).row.options}
    method = get_method(loss, weight=weight, **({"eta": 0.75} if "eta" in offered else {}))
    X, teacher, I = setting.map(), setting.teacher(loss), linear().to(setting.device)
    module = LossModule(X, method, I, teacher, hardware=HardwareConfig(precision="bf16"))
    x0, x1 = torch.randn(2, batch, *setting.event, generator=torch.Generator().manual_seed(1)).to(setting.device)
    draw = method.draw(X, I, x0, x1, teacher=teacher, seed=0)
    with Counter() as counter:
        module(draw).loss.backward()
    parameters = sum(p.numel() for p in X.parameters())
    return {"gflop_per_image": rounded(counter.operations / batch / 1e9), "parameters": parameters}


def ceiling(setting: Setting, _left: Callable[[], float]) -> dict[str, Measure]:
    """What the device can do at most, and what a loss asks of it."""
    size, batch, channels = (64, 2, 8) if setting.tiny else (8192, 512, 256)
    products = {"bf16": torch.bfloat16, "float32": torch.float32}
    return {
        **{f"product {name}": partial(product, setting, dtype, size) for name, dtype in products.items()},
        "convolution bf16": partial(convolution, setting, batch, channels),
        "copy": partial(copying, setting, 4 if setting.tiny else 4000),
        **{f"operations {loss}": partial(operations, setting, loss) for loss in LOSSES},
    }


def where_it_goes(setting: Setting, loss: str, compiled: bool) -> dict[str, Any]:
    """The kernels of a few steps by what they do, and the share of the time in which none runs."""
    warmup, count = (2, 2) if setting.tiny else (10, 5)

    def measured(batch: int) -> dict[str, Any]:
        with profiled(setting.device) as found:
            ticked(setting, loss, compiled, batch, Ticks(setting.device, warmup, count, found.watch))
        return {"batch": batch, **found.numbers(count)}

    return halved_until_it_fits(setting.batch, measured)


def profile(setting: Setting, _left: Callable[[], float]) -> dict[str, Measure]:
    """What explains the time that a step takes beyond its products."""
    ways = [("fm", False), ("lsd", False)] + ([] if setting.tiny else [("fm", True), ("lsd", True)])
    return {f"{loss}{', compiled' * way}": partial(where_it_goes, setting, loss, way) for loss, way in ways}


def samples(setting: Setting, precision: Any, compiled: bool, chunk: int) -> dict[str, Any]:
    """Pictures per second by the number of steps, of one chunk of states that are there."""
    config = setting.config("lsd", compiled=False, out=setting.runs)
    X, I = setting.map(compiled).eval().requires_grad_(False), linear().to(setting.device)
    plain = Run(RunFolder(setting.runs), config, 0, setting.event, (), False, X, I, setting.device, setting.dataset)
    run = plain.on(precision=precision, compile=compiled)
    x0, found = noise(chunk, setting.event, seed=0).to(setting.device), {}
    for count in STEPS:
        rounds = 2 if setting.tiny else 10
        took = timed(setting.device, partial(run.draw, x0=x0, steps=count, chunk=chunk), 2, rounds)
        found[f"{count} step{'s' * (count > 1)}"] = {**took, "images_per_second": rounded(1000 * chunk / took["ms"])}
    return {"chunk": chunk, **found}


def sampling(setting: Setting, _left: Callable[[], float]) -> dict[str, Measure]:
    """Samples of the map of the recipe, in float32 and bfloat16, uncompiled and compiled."""
    ways = [(precision, compiled) for precision in ("32", "bf16") for compiled in (False, True)]
    chunk = 4 if setting.tiny else 512
    return {
        f"{precision}{', compiled' * compiled}": partial(
            halved_until_it_fits, chunk, partial(samples, setting, precision, compiled)
        )
        for precision, compiled in ways
    }


def _nothing(_: str) -> None:
    """Say nothing."""

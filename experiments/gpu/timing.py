"""Times on a device: medians and spreads between events of its own, waiting for it outside the timed region only."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from flowops.training import StepReport


class Enough(Exception):
    """Ends a training that was only to be timed."""


class Marks:
    """Moments on a device: events on CUDA, whose distances are read when all are there; the clock on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.marks = device, list[Any]()

    def mark(self) -> None:
        """Note a moment, without waiting for the device."""
        if self.device.type != "cuda":
            self.marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.marks.append(event)

    def milliseconds(self) -> list[float]:
        """The times between them."""
        pairs = list(zip(self.marks[:-1], self.marks[1:], strict=True))
        if self.device.type != "cuda":
            return [1000 * (b - a) for a, b in pairs]
        torch.cuda.synchronize(self.device)
        return [a.elapsed_time(b) for a, b in pairs]


class Ticks:
    """A callback of `flowops.train` that times steps after some to warm up, then ends the run by `Enough`.

    Args:
        device: of the run.
        warmup: steps that are not timed; the compiler and the tuning of kernels are in them.
        steps: steps that are.
        watch: is told when the timed steps begin (True) and end (False).
    """

    def __init__(
        self, device: torch.device, warmup: int, steps: int, watch: Callable[[bool], None] = lambda _: None
    ) -> None:
        self.marks, self.warmup, self.steps, self.watch = Marks(device), warmup, steps, watch
        self.begun, self.first = time.perf_counter(), 0.0

    def __call__(self, report: StepReport) -> None:
        """Note a step."""
        device = self.marks.device
        if report.step == 1:
            settled(device)
            self.first = time.perf_counter() - self.begun
        if report.step == self.warmup:
            settled(device)
            forget_peak(device)
            self.watch(True)
        if report.step >= self.warmup:
            self.marks.mark()
        if report.step == self.warmup + self.steps:
            settled(device)
            self.watch(False)
            raise Enough

    def numbers(self, batch: int) -> dict[str, Any]:
        """What was found, for a batch of this size."""
        found = spread(self.marks.milliseconds())
        return {
            "batch": batch,
            **found,
            "images_per_second": rounded(1000 * batch / found["ms"]),
            "until_first_step_s": rounded(self.first),
            **peak(self.marks.device),
        }


def timed(device: torch.device, work: Callable[[], object], warmup: int, rounds: int) -> dict[str, Any]:
    """Median and spread of `work`, after some calls that are not timed."""
    for _ in range(warmup):
        work()
    settled(device)
    forget_peak(device)
    marks = Marks(device)
    marks.mark()
    for _ in range(rounds):
        work()
        marks.mark()
    return {**spread(marks.milliseconds()), **peak(device)}


def spread(milliseconds: list[float]) -> dict[str, Any]:
    """Median, tenth and ninetieth percentile, and how many there were."""
    tenths = statistics.quantiles(milliseconds, n=10) if len(milliseconds) > 1 else [milliseconds[0]] * 9
    found = {"ms": statistics.median(milliseconds), "p10": tenths[0], "p90": tenths[-1]}
    return {**{name: rounded(value) for name, value in found.items()}, "rounds": len(milliseconds)}


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def settled(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Begin to watch its memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> dict[str, float]:
    """The most memory since then, in GB: that of tensors, and what was taken for them; on a CPU that of the process."""
    if device.type == "cuda":
        taken = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
        return {"allocated_gb": rounded(taken[0] / 1e9), "reserved_gb": rounded(taken[1] / 1e9)}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"process_gb": rounded(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9)}

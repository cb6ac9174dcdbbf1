"""Where the time of some steps goes, by torch's profiler: kernels by what they do, and the share without any."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from experiments.gpu.timing import rounded

KINDS = {
    "compiled pointwise": ("triton_(?!tem_)",),  # named after all that is fused into them; templates are products
    "convolutions": ("conv", "cudnn", "xmma", "wgrad", "dgrad", "implicit"),
    "products": ("gemm", "cutlass", "cublas", "addmm", "bmm", "::mm", "matmul", "triton_tem_"),
    "copies": ("memcpy", "memset", "copy", "contiguous"),
    "optimizer": ("multi_tensor", "fused_adam", "foreach", "adam"),
    "norms and sums": ("reduce", "norm", "softmax", "sum", "mean"),
    "pointwise": ("elementwise", "vectorized", "mul", "add", "silu", "div", "sub", "fill", "rsqrt"),
}
"""Patterns of parts of the names of kernels; the first kind that fits counts."""
SHOWN = 25


class Profiled:
    """The profile of what happens between two calls of `watch`."""

    def __init__(self, device: torch.device) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        self.on_cuda, self.profile = device.type == "cuda", torch.profiler.profile(activities=activities)
        self.running, self.begun, self.wall = False, 0.0, 0.0

    def watch(self, begins: bool) -> None:
        """Start or stop; the device has nothing left to do then."""
        if begins:
            self.profile.start()
            self.begun, self.running = time.perf_counter(), True
        else:
            self.wall = time.perf_counter() - self.begun
            self.stop()

    def stop(self) -> None:
        """Stop, if it runs."""
        if self.running:
            self.profile.stop()
            self.running = False

    def numbers(self, steps: int) -> dict[str, Any]:
        """Milliseconds of a step by kind and by kernel, and the share of the time in which no kernel ran."""
        kernels, kinds = self._kernels(), dict[str, float]()
        if not kernels:
            raise RuntimeError("The profiler must see kernels, and saw none; this machine may not let it.")
        for name, ms, _ in kernels:
            kinds[kind(name)] = kinds.get(kind(name), 0.0) + ms
        total, longest = sum(kinds.values()), sorted(kinds.items(), key=lambda each: -each[1])
        wall = 1000 * self.wall
        return {
            "ms": rounded(wall / steps),
            "idle_share": rounded(max(1 - total / wall, 0.0)),
            "kinds_ms": {name: rounded(ms / steps) for name, ms in longest},
            "kernels": [
                {"name": name[:120], "ms": rounded(ms / steps), "calls": rounded(calls / steps)}
                for name, ms, calls in kernels[:SHOWN]
            ],
        }

    def _kernels(self) -> list[tuple[str, float, int]]:
        """Names, milliseconds and calls of what ran on the device, the longest first."""
        found = []
        for event in self.profile.key_averages():
            own = event.self_device_time_total if self.on_cuda else event.self_cpu_time_total
            launched = self.on_cuda and event.device_type.name == "CPU"
            if own > 0 and not launched:
                found.append((event.key, own / 1000, event.count))
        return sorted(found, key=lambda each: -each[1])


def kind(name: str) -> str:
    """What a kernel does, by its name."""
    lowered = name.lower()
    return next((kind for kind, parts in KINDS.items() if re.search("|".join(parts), lowered)), "others")


@contextmanager
def profiled(device: torch.device) -> Iterator[Profiled]:
    """A profile that is stopped whatever happens."""
    found = Profiled(device)
    try:
        yield found
    finally:
        found.stop()

"""How many floating-point operations a step takes, and how many the device could do: what part of it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowops.methods import Draw
from flowops.runs.settings import HardwareConfig
from flowops.training.loss_module import LossModule

PEAKS: Mapping[str, tuple[float, float, float]] = {
    "H200 NVL": (835.5e12, 417.5e12, 60e12),
    "H200": (989.5e12, 494.5e12, 67e12),
    "H100 PCIe": (756e12, 378e12, 51e12),
    "H100 NVL": (835.5e12, 417.5e12, 60e12),
    "H100": (989.5e12, 494.5e12, 67e12),
    "A100": (312e12, 156e12, 19.5e12),
    "L40S": (362.1e12, 183.2e12, 91.6e12),
    "RTX 4090": (165.2e12, 82.6e12, 82.6e12),
    "RTX 3090": (71e12, 35.6e12, 35.6e12),
}
"""Dense products a second in bfloat16, in TF32 and in float32, by words of the name that CUDA gives a device; the
first row that fits holds. Source: NVIDIA's data sheets of H200, H100, A100 and L40S, halved where these count on
sparsity, and its white papers of the architectures Ada (RTX 4090) and GA102 (RTX 3090)."""
ROWS = 8  # that are counted
OTHERS = {"Laptop", "Max", "D", "MIG"}  # words of devices of the same name that are slower, or parts of one


def peak(device: torch.device, hardware: HardwareConfig) -> float | None:
    """Operations a second that a device can do in the precision of a run; None where that is not known."""
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device), hardware)


def peak_of(name: str, hardware: HardwareConfig) -> float | None:
    """The same by the name of the device, as in `NVIDIA H200`."""
    column = 0 if hardware.precision == "bf16" else 2 if hardware.float32 == "highest" else 1
    words = name.replace("-", " ").split()
    fitting = (rates for known, rates in PEAKS.items() if set(known.split()) <= set(words))
    return None if OTHERS & set(words) else next((rates[column] for rates in fitting), None)


def flop_per_sample(module: LossModule, draw: Draw) -> float:
    """Floating-point operations of the loss and its gradient for each sample of a draw, two for a product with a sum.

    Every term is counted on the smallest part of the draw with rows of it, uncompiled, as torch dispatches it, with
    forward derivatives and frozen copies, and taken to be linear in its rows; where groups of samples interact, on the
    whole draw. Counted are products of matrices, convolutions and attention. Not counted are what is done element by
    element, the optimizer, the averages, and what `hardware.recompute` does twice. Of an adaptive solve it is that of
    this draw.

    Args:
        module: the loss; it is left as it was, and so are the generators of torch and the gradients.
        draw: a step's.

    Cost: for each term the loss and the gradient of about eight rows, some ten times slower than uncounted.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    devices = sorted({p.device.index for p in parameters if p.device.type == "cuda"})
    total = 0.0
    with torch.random.fork_rng(devices):
        for i, term in enumerate(draw.terms):
            if term is not None:
                only = draw._replace(terms=tuple(t if j == i else None for j, t in enumerate(draw.terms)))
                k, n = (0, 1) if module.method.options.particles is not None else only.few(ROWS)
                part = only.part(k, n)
                rows = _rows(part, i)
                total += _counted(module, part, parameters) * _rows(only, i) / rows
    with torch.no_grad():
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
    return total / draw.size


class _Everywhere:
    """The place to which a counter adds what it counts, whichever module it is in."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _rows(draw: Draw, term: int) -> int:
    found = draw.terms[term]
    assert found is not None
    return found.rows.stop - found.rows.start


def _counted(module: LossModule, draw: Draw, parameters: Sequence[Tensor]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    tracker: Any = _Everywhere()
    counter.mod_tracker = tracker  # torch's own hangs hooks on modules, which fail inside of torch.func
    with counter:
        with module.autocast():
            average, teacher = module.average, module.teacher
            loss = module.method.evaluate(module.X, module.interpolant, draw, teacher=teacher, average=average).loss
        torch.autograd.grad(loss, parameters, allow_unused=True)
    return float(counter.get_total_flops())

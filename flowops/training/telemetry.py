r"""Where in the triangle of $(s,t)$ a run learns and where it struggles, and how fast it runs.

Losses and tangents are added up by cell of the two times on the device, without waiting for it; a table is read off
now and then. A tangent that is large against its velocity, $|\partial_tv_{s,t}|\gg|v_{s,t}|$, comes before losses that
explode. How fast it runs is told in samples and in floating-point operations a second, and as a share of what the
device could do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator, OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from flowops._arguments import expand_times
from flowops._derivatives import value_and_jvp
from flowops._types import PerSample, TimeLike, Times
from flowops.maps import FlowMap
from flowops.methods import Draw
from flowops.runs.settings import HardwareConfig
from flowops.runs.tables import append, cut_table
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


@dataclass(frozen=True)
class Cell:
    """A cell that was visited: corners, samples with a finite loss, means of loss and tangent, losses not finite.

    A mean without any value is NaN; what is not finite enters no mean.
    """

    s_low: float
    s_high: float
    t_low: float
    t_high: float
    count: int
    loss: float
    tangent: float
    not_finite: int = 0


class Telemetry:
    """Means over the cells of a grid on the unit square of times. A time outside counts to the outermost cell.

    Attributes:
        totals: `[5, cells, cells]`, in float64 where the device has it: finite losses, their sum, finite tangents,
            their sum, and losses that are not finite. Add up those of several processes before a table is read.

    Args:
        cells: in each of the two times.

    Raises:
        ValueError: for a number of cells below 1.
    """

    def __init__(self, cells: int = 8) -> None:
        if cells < 1:
            raise ValueError(f"`cells` must be a positive number of cells, got {cells}; pass 8, say.")
        self.cells, self.totals, self._continued = cells, torch.zeros(5, cells, cells, dtype=torch.float64), False

    def add(self, s: Times, t: Times, loss: PerSample) -> None:
        """Count samples with their losses, `[batch]` each."""
        self._add(0, s, t, loss)
        self.totals[4].view(-1).index_add_(0, self._cell(s, t), (~loss.detach().isfinite()).to(self.totals))

    def add_tangent(self, s: Times, t: Times, ratio: PerSample) -> None:
        """Count measured tangents, `[batch]` each; see `tangent_ratio`."""
        self._add(2, s, t, ratio)

    def table(self) -> list[Cell]:
        """The cells that were visited, ordered by $s$, then $t$. The host waits for the device."""
        counts, losses, measured, ratios, faults = self.totals.cpu()
        means = torch.stack([losses / counts, ratios / measured]).tolist()
        width = 1 / self.cells
        return [
            Cell(
                i * width,
                (i + 1) * width,
                j * width,
                (j + 1) * width,
                int(counts[i, j]),
                means[0][i][j],
                means[1][i][j],
                int(faults[i, j]),
            )
            for i, j in torch.nonzero((counts > 0) | (measured > 0) | (faults > 0)).tolist()
        ]

    def write(self, path: Path | str, step: int) -> None:
        """Append the table to a CSV file, a row for each cell, after the number of the step.

        The first write cuts the rows of this step and of later ones, which a run left that is resumed before them.

        Raises:
            ValueError: if the file has other columns.
            OSError: if the disk does not take it; then nothing of it is in the file.
        """
        path, header = Path(path), ("step", *(field.name for field in fields(Cell)))
        if path.exists() and not self._continued:
            cut_table(path, header, step - 1)
        self._continued = True
        lines = [] if path.exists() and path.stat().st_size else [",".join(header)]
        lines += [",".join([str(step), *map(repr, astuple(cell))]) for cell in self.table()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            append(file, "".join(f"{line}\n" for line in lines))

    def reset(self) -> None:
        """Forget everything that was added."""
        self.totals.zero_()

    @torch.no_grad()
    def _add(self, first: int, s: Tensor, t: Tensor, values: Tensor) -> None:
        self.totals = self.totals.to(values.device, wide(values.device))
        where, values = self._cell(s, t), values.detach().to(self.totals)
        finite = values.isfinite()
        for k, added in ((first, finite.to(values)), (first + 1, torch.where(finite, values, 0.0))):
            self.totals[k].view(-1).index_add_(0, where, added)

    def _cell(self, s: Tensor, t: Tensor) -> Tensor:
        rows, columns = ((self.cells * q.detach()).long().clamp(0, self.cells - 1) for q in (s, t))
        return rows * self.cells + columns


def wide(device: torch.device) -> torch.dtype:
    """The widest floating dtype of a device: Apple's have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def tangent_ratio(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
    r"""$|\partial_tv_{s,t}(x)|\,/\,|v_{s,t}(x)|$, `[batch]`, with Euclidean norms over the event.

    It is infinite where only $v$ vanishes. Cost: one forward-mode pass through the average velocity, without a graph.
    """
    s, t = expand_times(s, t, x)
    with torch.no_grad():
        v, tangent = value_and_jvp(lambda q: X.average_velocity(s, q, x), (t,), (torch.ones_like(t),))
    return tangent.reshape(len(x), -1).norm(dim=1) / v.reshape(len(x), -1).norm(dim=1)


class Clock:
    """Samples per second, and the share of the time spent waiting for data, since they were last read.

    Args:
        samples: samples of one step.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._restart()

    def tick(self, waited: float) -> None:
        """A step is done, `waited` seconds of which passed until its data were there."""
        self._steps += 1
        self._waited += waited

    def rates(self) -> tuple[float, float]:
        """Samples per second and the share of waiting, NaN before the first step; the next ones count from here."""
        seconds = time.perf_counter() - self._start
        read = (self._samples * self._steps / seconds, self._waited / seconds) if self._steps else (float("nan"),) * 2
        self._restart()
        return read

    def pause(self) -> None:
        """What was done since the last step is no training; the next steps count from here."""
        self._restart()

    def _restart(self) -> None:
        self._start, self._steps, self._waited = time.perf_counter(), 0, 0.0


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


PRODUCTS: Mapping[str, Any] = {
    "addmm": torch.mm,
    "baddbmm": torch.bmm,
    "addbmm": lambda a, b: torch.bmm(a, b).sum(0),
    "addmv": torch.mv,
    "addr": torch.outer,
}
"""What a product that is added to something multiplies."""


class _WithoutFactors(TorchFunctionMode):
    """Sums of a product and a multiple, in two operations.

    Torch's own ends the process where a forward derivative of it is taken under a mode that sees every operation, and
    the first summand has none. The attention of diffusers is of this kind.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        product = PRODUCTS.get(getattr(func, "__name__", ""))
        beta, alpha = kwargs.get("beta", 1), kwargs.get("alpha", 1)
        if product is None or beta == 1 or len(args) != 3 or kwargs.keys() - {"beta", "alpha"}:
            return func(*args, **kwargs)
        result = alpha * product(*args[1:])
        return result + beta * args[0] if beta else result


class _Counter(TorchDispatchMode):
    """Adds up what the formulas of torch say of the operations that are done under it.

    Torch's own `FlopCounterMode` asks of each operation again whether it is made of others, and in which module it is.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry

        super().__init__()
        self.formulas, self.total = flop_registry, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self.formulas.get(getattr(func, "_overloadpacket", func))
        if formula is None and _decomposes(func):
            with self:
                return func.decompose(*args, **kwargs)
        if formula is None and isinstance(func, HigherOrderOperator):
            return NotImplemented  # what it does inside would not be seen
        out = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


@cache
def _decomposes(func: Any) -> bool:
    """Whether an operation is made of others, as some are that are done without a way back."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return isinstance(func, OpOverload) and func.has_kernel_for_dispatch_key(composite)


def _rows(draw: Draw, term: int) -> int:
    found = draw.terms[term]
    assert found is not None
    return found.rows.stop - found.rows.start


def _counted(module: LossModule, draw: Draw, parameters: Sequence[Tensor]) -> float:
    with _Counter() as counter, _WithoutFactors():
        with module.autocast():
            average, teacher = module.average, module.teacher
            loss = module.method.evaluate(module.X, module.interpolant, draw, teacher=teacher, average=average).loss
        torch.autograd.grad(loss, parameters, allow_unused=True)
    return float(counter.total)

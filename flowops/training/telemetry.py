r"""Where in the triangle of $(s,t)$ a run learns and where it struggles, and how fast it runs.

Losses and tangents are added up by cell of the two times on the device, without waiting for it; a table is read off
now and then. A tangent that is large against its velocity, $|\partial_tv_{s,t}|\gg|v_{s,t}|$, comes before losses that
explode.
"""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from flowops._arguments import expand_times
from flowops._derivatives import value_and_jvp
from flowops._types import PerSample, TimeLike, Times
from flowops.maps import FlowMap
from flowops.runs.tables import append, cut_table


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

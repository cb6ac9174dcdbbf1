"""How good a learned map in the plane is: divergences, the solver it replaces, its residuals, pictures, progress."""

from __future__ import annotations

import math
import sys
import time
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from experiments._two_dimensions import Board, board_of
from flowops import FlowMap, residuals
from flowops.metrics import cell_masses, histogram_kl
from flowops.report import new_figure, save_figure
from flowops.sampling import grids, sample

STEPS = (1, 2, 4, 8, 16)
SAMPLES = 64_000  # 2505.18825 §G.1
BINS = (50, 48)  # the protocol's cells, and cells that no edge of the board cuts


@cache
def masses(bins: int) -> Tensor:
    """The board's cells, whatever the schedule a map was trained with."""
    return cell_masses(board_of(), bins=bins)


def divergences(samples: Tensor) -> list[float]:
    """KL of the samples for each entry of `BINS`."""
    return [histogram_kl(samples, masses(bins), bins=bins).item() for bins in BINS]


def push(X: FlowMap, x0: Tensor, steps: int) -> Tensor:
    """The samples after equal steps from 0 to 1, on the CPU."""
    return sample(X, x0.to(next(X.parameters()).device), grids.uniform(steps), chunk=16_384).cpu()


def residual_maps(X: FlowMap, board: Board, cells: int = 12, n: int = 256, seed: int = 0) -> dict[str, Tensor]:
    r"""Root mean squares of the residuals against the map's own field, `[cells, cells]` over $(s,t)$; NaN for $s>t$.

    The states at $s$ are those that the map carries there from the base.
    """
    grid = (torch.arange(cells) + 0.5) / cells
    rows, columns = torch.triu_indices(cells, cells)
    s, t = grid[rows].repeat_interleave(n), grid[columns].repeat_interleave(n)
    x0, b = board.sample(0.0, len(s), generator=torch.Generator().manual_seed(seed)), X.velocity()
    with torch.no_grad():
        x = X(0.0, s, x0)
        found = {
            "Lagrangian": residuals.lagrangian(X, b, s, t, x),
            "Eulerian": residuals.eulerian(X, b, s, t, x),
            "semigroup": residuals.semigroup(X, s, (s + t) / 2, t, x),
        }
    maps = {name: torch.full((cells, cells), math.nan) for name in found}
    for name, values in found.items():
        maps[name][rows, columns] = values.square().sum(1).reshape(-1, n).mean(1).sqrt()
    return maps


def save_board(path: Path, clouds: dict[str, Tensor], maps: dict[str, Tensor], losses: list[float]) -> None:
    """Samples side by side above, residuals over the two times and the loss below; written atomically."""
    figure = new_figure(3 * len(clouds), 7)
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False)
    for axes, (name, cloud) in zip(above.subplots(1, len(clouds)), clouds.items(), strict=True):
        axes.hist2d(*cloud.T.numpy(), bins=150, range=[[-1.25, 1.25]] * 2, cmap="magma", vmax=len(cloud) / 5000)
        axes.set(title=name, aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    panels = below.subplots(1, len(maps) + 1)
    for axes, (name, values) in zip(panels, maps.items(), strict=False):
        image = axes.imshow(values.T.numpy(), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
        axes.set(title=f"{name} residual, root mean square", xlabel="start time $s$", ylabel="end time $t$")
        figure.colorbar(image, ax=axes)
    panels[-1].semilogy([50 * (k + 1) for k in range(len(losses))], losses)
    panels[-1].set(title="loss", xlabel="step")
    save_figure(path, figure, dpi=100)


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, label: str = "") -> None:
        self.label, self.start, self.shown = label, time.monotonic(), -math.inf

    def __call__(self, done: float, text: str) -> None:
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if done < 1 and now - self.shown < (0.2 if terminal else 15):
            return
        self.shown = now
        bar = "#" * round(24 * min(done, 1))
        line = f"{self.label}[{bar:<24}] {min(done, 1):4.0%}  {now - self.start:4.0f} s  {text}"
        print(f"\r{line:<110}" if terminal else line, end="" if terminal and done < 1 else "\n", file=sys.stderr)

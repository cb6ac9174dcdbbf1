"""How good a map on the checkerboard is: divergences for an evaluation, residuals over the times, a figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from flowops import Run, interpolants, problems, residuals
from flowops.evaluation.measures import Measure
from flowops.metrics import cell_masses, histogram_kl
from flowops.pictures import new_figure, save_figure

SAMPLES = 64_000  # 2505.18825 §G.1


@cache
def masses(bins: int) -> Tensor:
    """The board's cells, whatever the schedule a map was trained with."""
    return cell_masses(problems.checkerboard(interpolants.linear()), bins=bins)


def kl_50(_: Tensor) -> Measure:
    """KL on the 50 x 50 cells of the protocol of 2505.18825, some of which are cut by an edge of the board."""
    return lambda x: float(histogram_kl(x, masses(50), bins=50))


def kl_48(_: Tensor) -> Measure:
    """KL on 48 x 48 cells, which no edge of the board cuts."""
    return lambda x: float(histogram_kl(x, masses(48), bins=48))


COLUMNS: Mapping[str, Callable[[Tensor], Measure]] = {"KL, 50 x 50": kl_50, "KL, 48 x 48": kl_48}


@torch.no_grad()
def residual_maps(run: Run, cells: int = 12, n: int = 256) -> dict[str, Tensor]:
    r"""Root mean squares of the residuals against the map's own field, `[cells, cells]` over $(s,t)$; NaN for $s>t$.

    The states at $s$ are those that the map carries there from the base.
    """
    grid = ((torch.arange(cells) + 0.5) / cells).to(run.device)
    first, last = torch.triu_indices(cells, cells, device=run.device)
    s, t = grid[first].repeat_interleave(n), grid[last].repeat_interleave(n)
    X, b = run.X, run.X.velocity()
    x = X(0.0, s, run.base(len(s)))
    found = {
        "Lagrangian": residuals.lagrangian(X, b, s, t, x),
        "Eulerian": residuals.eulerian(X, b, s, t, x),
        "semigroup": residuals.semigroup(X, s, (s + t) / 2, t, x),
    }
    maps = {name: torch.full((cells, cells), math.nan) for name in found}
    for name, values in found.items():
        maps[name][first.cpu(), last.cpu()] = values.square().sum(1).reshape(-1, n).mean(1).sqrt().cpu()
    return maps


def save_board(path: Path, clouds: Mapping[str, Tensor], maps: Mapping[str, Tensor]) -> None:
    """Densities of samples side by side above, residuals over the two times below."""
    figure = new_figure(3.0 * len(clouds), 7.0)
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False)
    for axes, (name, cloud) in zip(above.subplots(1, len(clouds)), clouds.items(), strict=True):
        axes.hist2d(*cloud.T.numpy(), bins=150, range=[[-1.25, 1.25]] * 2, cmap="magma", vmax=len(cloud) / 5000)
        axes.set(title=name, aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    for axes, (name, values) in zip(below.subplots(1, len(maps)), maps.items(), strict=True):
        image = axes.imshow(values.T.numpy(), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
        axes.set(title=f"{name} residual, root mean square", xlabel="start time $s$", ylabel="end time $t$")
        figure.colorbar(image, ax=axes)
    save_figure(path, figure, dpi=100)

r"""What is measured of a trained map against its own field: estimates of its error, its trajectories, its densities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops import FlowMap, Run, SolutionOperator, VelocityField
from flowops.certificates import tangent_error
from flowops.fields.divergence import inner
from flowops.maps import (
    LogDetLanczos,
    LogDetSeries,
    arc_length,
    lipschitz,
    preimage,
    principal_variances,
    pushforward_log_prob,
    straightness,
    turning,
)
from flowops.metrics import wasserstein2
from flowops.sampling import blocks, grids

Sizes = dict[int, Tensor]
AT_ONCE = 100  # samples


@dataclass(frozen=True)
class Measured:
    """The error of a map, and what is estimated of it.

    Attributes:
        estimate: sizes by number of steps, `[n]` each.
        error: sizes against a solve of the field, of the first samples, `[m]` each.
        shares: of each step of the longest sampler in the mean square of the estimate at the end.
        jumps: root mean squares of the estimated error of one step from $s$ to $t$ at the states of the map at $s$.
    """

    estimate: Sizes
    error: Sizes
    shares: Tensor
    jumps: Tensor

    def correlation(self, k: int) -> float:
        """Spearman's, of estimate and error."""
        both = torch.stack([self.estimate[k][: len(self.error[k])], self.error[k]])
        ranks = both.argsort(1).argsort(1).double()
        return float(torch.corrcoef(ranks)[0, 1])

    def effectivity(self, k: int) -> Tensor:
        """Estimate over error."""
        return self.estimate[k][: len(self.error[k])] / self.error[k]


def operators(run: Run, n: int, start: int = 0) -> tuple[FlowMap, VelocityField, Tensor]:
    """The map, its own field and base samples, all classes in turn."""
    conditioning = run.conditioning(n, start=start)
    return conditioning.map(), conditioning.field(), run.base(n, start=start)


def size(x: Tensor) -> Tensor:
    """Root mean square of the entries of each sample."""
    return (inner(x, x) / x[0].numel()).sqrt().cpu()


def sampled(
    X: FlowMap, b: VelocityField, grid: list[float], x: Tensor, tolerance: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """The end of a sampler, and the estimate of its error: what a step adds, and what those before have left."""
    error = torch.zeros_like(x)
    for s, t in zip(grid[:-1], grid[1:], strict=True):
        error = tangent_error(X, b, s, [t], x, start=error, tolerance=tolerance)[0]
        x = X(s, t, x)
    return x, error


def shares(X: FlowMap, b: VelocityField, grid: list[float], x: Tensor, tolerance: float = 1e-4) -> Tensor:
    """What each step adds to the mean square of the estimate at the end; they sum to one."""
    parts: list[Tensor] = []
    n = len(x)
    for s, t in zip(grid[:-1], grid[1:], strict=True):
        rows = torch.arange(n, device=x.device).repeat(len(parts) + 1)
        start = torch.cat([*parts, torch.zeros_like(x)])
        driven = torch.arange(len(rows), device=x.device) >= len(parts) * n  # only the last of them
        found = tangent_error(
            X.subset(rows), b.subset(rows), s, [t], x[rows], start=start, driven=driven, tolerance=tolerance
        )[0]
        parts, x = list(found.split(n)), X(s, t, x)
    whole = torch.stack(parts).sum(0)
    each = torch.stack([inner(part, whole).sum() for part in parts])
    return (each / each.sum()).cpu()


def jump_errors(X: FlowMap, b: VelocityField, x: Tensor, cells: int, tolerance: float = 1e-4) -> Tensor:
    """The estimated error of one step from each time to each later one, `[cells, cells + 1]`; NaN for the others."""
    times = torch.linspace(0, 1, cells + 1, device=x.device)
    found = torch.full((cells, cells + 1), math.nan)
    for i in range(cells):
        s, y = float(times[i]), X(0.0, float(times[i]), x)
        errors = tangent_error(X, b, s, [float(t) for t in times[i + 1 :]], y, tolerance=tolerance)
        found[i, i + 1 :] = torch.stack([size(e).square().mean().sqrt() for e in errors])
    return found


@torch.no_grad()
def measured(
    run: Run,
    n: int,
    subset: int,
    cells: int,
    steps: Sequence[int],
    *,
    few: Sequence[int] = (),
    tolerance: float = 1e-4,
    report: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Estimates at `n` base samples, the truth at the first of them; by `few` numbers of steps at these alone."""
    X, b, x = operators(run, n)
    small, field, first = operators(run, subset)
    truth = field.flow_map()(0.0, 1.0, first)
    estimate, error = {}, {}
    for k in steps:
        parts = []
        for block in blocks(subset if k in few else n, AT_ONCE):
            rows = torch.arange(block.start, block.stop, device=x.device)
            parts.append(sampled(X.subset(rows), b.subset(rows), grids.uniform(k), x[rows], tolerance))
            report(f"{block.stop} samples by {k} step{'s' * (k > 1)}")
        end, off = (torch.cat(each) for each in zip(*parts, strict=True))
        estimate[k], error[k] = size(off), size(end[:subset] - truth)
    each = shares(small, field, grids.uniform(steps[-1]), first, tolerance)
    return Measured(estimate, error, each, jump_errors(small, field, first, cells, tolerance))


@torch.no_grad()
def trajectories(run: Run, n: int, pairs: int) -> dict[str, dict[str, float]]:
    r"""Shapes of the curves $X_{0,t}(x)$ of the map and of the flow of its field; means, or medians of angles."""
    X, b, x = operators(run, n)
    found = {}
    for name, Y in {"the map": X, "its field": SolutionOperator(b, method="rk4", steps=20)}.items():
        y = Y(0.0, 1.0, x)
        chord, spent = inner(y - x, y - x), straightness(Y, 0.0, 1.0, x).mean()
        crossed = float(chord[:pairs].mean() - wasserstein2(x[:pairs], y[:pairs]) ** 2)
        axes = principal_variances(Y, 0.0, 1.0, x).double()
        part = (axes.cumsum(1) / axes.sum(1, keepdim=True)).median(0).values
        local = lipschitz(Y, 0.0, 1.0, x, generator=torch.Generator().manual_seed(0))
        found[name] = {
            "energy": float(spent + chord.mean()),
            "of curves": float(spent),
            "of pairing": crossed if crossed > 1e-5 * float(chord.mean()) else 0.0,  # rounding
            "length over chord": float((arc_length(Y, 0.0, 1.0, x) / chord.sqrt()).median()),
            "angle": float(turning(Y, 0.0, 1.0, x).median()),
            **{f"{k} axes" if k > 1 else "1 axis": float(part[min(k, len(part)) - 1]) for k in (1, 2, 3)},
            "Lipschitz, median": float(local.median()),
            "largest": float(local.max()),
        }
    return found


@torch.no_grad()
def densities(run: Run, n: int, steps: Sequence[int]) -> list[dict[str, float]]:
    """Log-densities of the map's samples at states of the flow of its field, against that of the flow, in nats."""
    X, b, x = operators(run, n)
    y = b.flow_map()(0.0, 1.0, x)
    exact, lines = b.log_prob(y), []
    for k in steps:
        grid = grids.uniform(k)
        z = preimage(X, grid, y, on_failure="nan")
        rows = z.flatten(1).isfinite().all(1).nonzero()[:, 0]
        line: dict[str, float] = {"steps": k, "found": len(rows) / n}
        if len(rows):
            Y, z = X.subset(rows), z[rows]
            whole = pushforward_log_prob(Y, grid, z).value
            line["off"] = float((whole - exact[rows]).median())
            line["deviation"] = float((whole - exact[rows]).square().mean().sqrt())
            for name, kind in (("Lanczos", LogDetLanczos), ("series", LogDetSeries)):
                had = pushforward_log_prob(Y, grid, z, log_det=kind(generator=torch.Generator().manual_seed(0)))
                kept = had.truncation < had.standard_error
                line[f"{name}, kept"] = float(kept.double().mean())
                if kept.any():
                    line[f"{name}, off"] = float((had.value - whole)[kept].square().mean().sqrt())
                    line[f"{name}, stated"] = float(had.standard_error[kept].square().mean().sqrt())
        lines.append(line)
    return lines

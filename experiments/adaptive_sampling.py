r"""Samplers that use what a map is wrong by: to a tolerance, along optimal grids, extrapolated, and by Parareal.

    OMP_NUM_THREADS=1 python -m experiments.adaptive_sampling --write experiments/results/adaptive_sampling.md

Four maps, each beside a tight solve of its own diagonal field: Euler steps of the exact field of a mixture in the
plane; the same flow, nearly solved, but bent in one place; a perceptron on the checkerboard and a network on digits,
trained by `lsd` for two to three minutes of one core each (`--board`, `--digits` take runs that are there). Errors are
root mean squares over samples and components.

*Calibrated*: `calibrate` on 512 other samples, and the plan that it chooses for each tolerance, which it promises to
keep for nine tenths of the samples with a confidence of 0.95; tolerances that no plan keeps are left out. *To a
tolerance*: `adaptive_sample` from one, two and four first steps. Told are mean and most calls of a sample; the error,
and that of uniform grids at as many calls (between two numbers of steps along a straight line of logarithms); *ratio*
is the first over the second, below one where it pays; *beyond* is the share of samples whose error, relative as the
tolerance is, exceeds it, and *at 90 %* that which nine tenths keep. *If it were known* how far each sample is from its
end after any number of equal steps, it would take the fewest that keep the tolerance: no check can gain more than that.
*Optimal grids* are measured on other samples; *distance* is the sliced $W_2$ to data.
*Orders* are `measured_orders`. *Parareal* solves by one step of `rk4` on each of 16 parts at once; told are the network
calls that wait for each other, beside dopri5 at the same tolerance, and both errors.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks.page import about, table
from experiments.checkerboard import CONFIG as BOARD
from flowops import FlowMap, Run, SolutionOperator, TrainConfig, VelocityField, interpolants, problems, train
from flowops._arguments import per_event
from flowops._files import write_text
from flowops.maps import SolverStep
from flowops.metrics import sliced_wasserstein2
from flowops.pictures import new_figure, save_figure
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig
from flowops.sampling import adaptive_sample, calibrate, measured_orders, optimal_grids, parareal
from flowops.sampling.adaptive import distance
from flowops.sampling.cost import CountedField
from flowops.sampling.grids import uniform

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PROMISED = (0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003)
TOLERANCES = (0.1, 0.03, 0.01, 0.005, 0.003)
GRIDS = (2, 3, 4, 8)
FIRST = (1, 2, 4)
CALIBRATED = 512  # samples
FEW = 200  # samples that Parareal solves, and that grids are measured on
MIXTURE = problems.gaussian_mixture(
    [0.3, 0.3, 0.4], [[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5]], 0.16, interpolants.linear()
)


class Bent(FlowMap):
    r"""$X_{s,t}(x)+\tfrac12(t-s)^2e^{-4|x-c|^2}(1,1)$: wrong near $c$ alone, with the same diagonal."""

    def __init__(self, X: FlowMap, centre: Sequence[float]) -> None:
        super().__init__()
        self.X, self.centre = X, centre

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        near = torch.exp(-4 * (x - x.new_tensor(self.centre)).square().sum(1))
        return self.X(s, t, x) + per_event((t - s).square() / 2 * near, x)


@dataclass(frozen=True)
class Case:
    """A map with its own field, base samples with their ends, others to measure on, with their field, and data."""

    name: str
    X: FlowMap
    b: VelocityField
    x0: Tensor
    truth: Tensor
    others: tuple[FlowMap, Tensor]
    beside: VelocityField
    data: Tensor


def on_mixture(name: str, X: FlowMap, n: int) -> Case:
    """A map of the mixture."""
    drawn = torch.randn(n + CALIBRATED, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x0, others = drawn.split([n, CALIBRATED])
    truth = SolutionOperator(MIXTURE.b, rtol=1e-9, atol=1e-9)(0.0, 1.0, x0)
    data = MIXTURE.sample_data(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Case(name, X, MIXTURE.b, x0, truth, (X, others), MIXTURE.b, data)


def of_run(name: str, run: Run, n: int) -> Case:
    """A map that was trained."""
    here, there = run.conditioning(n), run.conditioning(CALIBRATED, start=n)
    x0, b = run.base(n), here.field()
    truth = SolutionOperator(b, method="dopri5", rtol=1e-6, atol=1e-6)(0.0, 1.0, x0)
    data = run.dataset.reference(n).x1
    return Case(name, here.map(), b, x0, truth, (there.map(), run.base(CALIBRATED, start=n)), there.field(), data)


def rms(x: Tensor) -> float:
    """Root mean square."""
    return float(x.double().square().mean().sqrt())


def at_equal_calls(calls: float, errors: dict[int, float]) -> float:
    """The error of uniform grids at a mean number of calls."""
    return math.exp(np.interp(math.log(calls), [math.log(k) for k in errors], [math.log(e) for e in errors.values()]))


def adapted(case: Case, errors: dict[int, float]) -> list[tuple[str, ...]]:
    """The lines of a case to each tolerance."""
    lines: list[tuple[str, ...]] = []
    for first in FIRST:
        for tolerance in TOLERANCES:
            with catch_warnings():
                simplefilter("ignore", UserWarning)  # what is not reached is told by the share beyond
                found = adaptive_sample(case.X, case.x0, tolerance, grid=uniform(first))
            calls, error = float(found.calls.double().mean()), rms(found.x - case.truth)
            same = at_equal_calls(calls, errors)
            beyond = float((distance(found.x, case.truth) > tolerance).double().mean())
            order = float(found.order.double().mean())
            numbers = (f"{tolerance:g}", f"{calls:.1f}", str(int(found.calls.max())), f"{order:.2f}", f"{error:.4f}")
            lines.append((case.name, str(first), *numbers, f"{same:.4f}", f"{error / same:.2f}", f"{beyond:.2f}"))
    return lines


def planned(case: Case, errors: dict[int, float]) -> list[tuple[str, ...]]:
    """The lines of a case by calibrated plans."""
    measured = calibrate(*case.others, case.beside)
    lines: list[tuple[str, ...]] = []
    ends = {k: case.X.compose(uniform(k), case.x0) for k in errors}
    nine_tenths = {k: float(distance(x, case.truth).double().quantile(0.9)) for k, x in ends.items()}
    for tolerance in PROMISED:
        if tolerance < float(measured.bounds().min()):
            continue
        plan = measured.plan(tolerance)
        x, taken = plan.sample(case.X, case.x0)
        calls, error = float(taken.double().mean()), rms(x - case.truth)
        same = at_equal_calls(calls, errors)
        off = distance(x, case.truth).double()
        numbers = (f"{tolerance:g}", str(plan), f"{calls:.1f}", str(int(taken.max())), f"{error:.4f}", f"{same:.4f}")
        most, usual = float(off.quantile(0.9)), at_equal_calls(calls, nine_tenths)
        compared = (f"{error / same:.2f}", f"{most:.4f}", f"{usual:.4f}", f"{most / usual:.2f}")
        lines.append((case.name, *numbers, *compared, f"{float((off > tolerance).double().mean()):.3f}"))
    return lines


def known(case: Case) -> list[tuple[str, ...]]:
    """What no sampler can do: every sample takes the fewest equal steps that keep the tolerance."""
    ends = [case.X.compose(uniform(k), case.x0) for k in COUNTS]
    off = torch.stack([distance(x, case.truth) for x in ends])
    errors = {k: rms(x - case.truth) for k, x in zip(COUNTS, ends, strict=True)}
    lines: list[tuple[str, ...]] = []
    for tolerance in TOLERANCES:
        kept = off <= tolerance
        first = torch.where(kept.any(0), kept.int().argmax(0), len(COUNTS) - 1)
        calls = float(torch.tensor(COUNTS)[first].double().mean())
        error = rms(torch.stack(ends)[first, torch.arange(len(first))] - case.truth)
        same = at_equal_calls(calls, errors)
        lines.append(
            (case.name, f"{tolerance:g}", f"{calls:.1f}", f"{error:.4f}", f"{same:.4f}", f"{error / same:.2f}")
        )
    return lines


def gridded(case: Case) -> list[tuple[str, ...]]:
    """The lines of a case for each number of steps."""
    X, x0 = case.others
    rows = torch.arange(FEW)
    best, lines = optimal_grids(X.subset(rows), x0[rows], GRIDS), []
    for k, grid in best.items():
        ends = [case.X.compose(times, case.x0) for times in (uniform(k), grid)]
        errors = [f"{rms(x - case.truth):.4f}" for x in ends]
        distances = [f"{float(sliced_wasserstein2(x.double(), case.data.double())):.4f}" for x in ends]
        inner = " ".join(f"{t:.3g}" for t in grid[1:-1])
        lines.append((case.name, str(k), *errors, *distances, inner))
    return lines


def ordered(case: Case) -> list[tuple[str, ...]]:
    """The orders of a case on grids of several lengths."""
    X, x0 = case.others
    return [(case.name, str(k), *(f"{p:.2f}" for p in measured_orders(X, x0, uniform(k)))) for k in (1, 2, 4, 8)]


def corrected(case: Case) -> list[tuple[str, ...]]:
    """The sequential calls of a case by Parareal and by dopri5."""
    lines, rows = [], torch.arange(min(FEW, len(case.x0)))
    X, b, x0, truth = case.X.subset(rows), case.b.subset(rows), case.x0[rows], case.truth[rows]
    for tolerance in (1e-2, 1e-3, 1e-4):
        field = CountedField(b)
        solved = SolutionOperator(field, method="dopri5", rtol=tolerance, atol=tolerance)(0.0, 1.0, x0)
        numbers = [str(field.count.sequential), f"{rms(solved - truth):.1e}"]
        for jumps in (True, False):
            found = parareal(X, b, x0, uniform(16), tolerance=tolerance, jumps=jumps)
            sweeps = f"{float(found.sweeps.double().mean()):.1f}"
            numbers += [str(found.sequential), sweeps, f"{found.calls:.0f}", f"{rms(found.x - truth):.1e}"]
        lines.append((case.name, f"{tolerance:g}", *numbers))
    return lines


def trained(folder: Path, quick: bool) -> dict[str, Run]:
    """The runs of the checkerboard and of digits, which go on where they were interrupted."""
    plain: dict[str, Any] = {
        "hardware": HardwareConfig(compile="no", threads=1),
        "log": LogConfig(progress=False, sample_every=0),
    }
    board = replace(BOARD, dataset="checkerboard", minutes=0.0, steps=1500, out=str(folder / "board"), **plain)
    digits = TrainConfig("digits", method="lsd", out=str(folder / "digits"), **plain)
    tiny = {"steps": 4, "batch": 64, "network": NetworkConfig("mlp", width=16, depth=1), "optimizer": OptimizerConfig()}
    few: dict[str, Any] = tiny if quick else {}
    return {name: train(replace(c, **few), resume=True) for name, c in (("checkerboard", board), ("digits", digits))}


def picture(
    path: Path,
    cases: Sequence[Case],
    uniforms: dict[str, dict[int, float]],
    plans: Sequence[Sequence[str]],
    lines: Sequence[Sequence[str]],
) -> None:
    """Error over calls, a panel for each map."""
    figure = new_figure(3.6 * len(cases), 3.4)
    for axes, case in zip(figure.subplots(1, len(cases)), cases, strict=True):
        errors = uniforms[case.name]
        axes.loglog(list(errors), list(errors.values()), color="grey", marker=".", label="uniform grids")
        for first, colour in zip(map(str, FIRST), ("tab:blue", "tab:red", "tab:green"), strict=True):
            own = [(float(line[3]), float(line[6])) for line in lines if line[:2] == (case.name, first)]
            axes.loglog(*zip(*own, strict=True), color=colour, marker="s", label=f"to a tolerance, from {first}")
        own = sorted((float(line[3]), float(line[5])) for line in plans if line[0] == case.name)
        axes.loglog(*zip(*own, strict=True), color="black", marker="o", fillstyle="none", label="calibrated")
        axes.set(title=case.name, xlabel="mean calls of a sample")
    figure.axes[0].set_ylabel("error, root mean square")
    figure.axes[0].legend()
    save_figure(path, figure)


def runs_of(args: argparse.Namespace, folder: str) -> dict[str, Run]:
    """The runs that are given, or trained."""
    given = {name: Run.load(path) for name, path in (("checkerboard", args.board), ("digits", args.digits)) if path}
    return given if len(given) == 2 else trained(Path(args.out or folder), args.quick) | given


@torch.no_grad()
def cases_of(runs: dict[str, Run], n: int) -> list[Case]:
    """All maps that are judged."""
    bent = Bent(SolverStep(MIXTURE.b, "rk4", 4), (-0.5, 0.7))
    made = [on_mixture("mixture, Euler", SolverStep(MIXTURE.b, "euler"), n), on_mixture("mixture, bent", bent, n)]
    return made + [of_run(name, run, n if name == "checkerboard" else min(n, 200)) for name, run in runs.items()]


BESIDE = ("error", "uniform", "ratio", "at 90 %", "uniform", "ratio")
PLANNED = ("map", "tolerance", "plan", "calls", "most", *BESIDE, "beyond")
HEADS: dict[str, tuple[Callable[[Case], list[tuple[str, ...]]], tuple[str, ...]]] = {
    "If it were known": (known, ("map", "tolerance", "calls", "error", "uniform", "ratio")),
    "Optimal grids": (
        gridded,
        ("map", "steps", "uniform", "optimal", "distance", "distance, optimal", "times between"),
    ),
    "Orders of the defect": (ordered, ("map", "steps", "to twice as many", "to four times as many")),
    "Parareal": (
        corrected,
        ("map", "tolerance", "dopri5, sequential", "error", "jumps, sequential", "sweeps", "calls", "error")
        + ("steps, sequential", "sweeps", "calls", "error"),
    ),
}


@torch.no_grad()
def judged(cases: Sequence[Case], n: int) -> tuple[dict[str, dict[int, float]], list[list[tuple[str, ...]]], list[str]]:
    """Errors of uniform grids, the lines of plans and to each tolerance, and all parts of the page."""
    uniforms = {case.name: {k: rms(case.X.compose(uniform(k), case.x0) - case.truth) for k in COUNTS} for case in cases}
    lines = [line for case in cases for line in adapted(case, uniforms[case.name])]
    head = ("map", "first steps", "tolerance", "calls", "most", "order", "error", "uniform", "ratio", "beyond")
    plans = [line for case in cases for line in planned(case, uniforms[case.name])]
    parts = [about(f"{n:,} samples, seed 0"), "## Calibrated", table(PLANNED, plans)]
    parts += ["## To a tolerance", table(head, lines)]
    for title, (measure, columns) in HEADS.items():
        parts += [f"## {title}", table(columns, [line for case in cases for line in measure(case)])]
        print(f"{title} done", file=sys.stderr, flush=True)
    return uniforms, [plans, lines], parts


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    each = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    each.add_argument("--write", type=Path, help="file to write instead of printing; a picture goes beside it")
    each.add_argument("--samples", type=int, default=16_000, help="of each map but the digits, which are at most 200")
    each.add_argument("--board", help="folder of a run on the checkerboard; else one is trained")
    each.add_argument("--digits", help="folder of a run on digits; else one is trained")
    each.add_argument("--out", help="folder of the runs that are trained; a temporary one if left out")
    each.add_argument("--quick", action="store_true", help="all of it at a tiny size, to see that it runs")
    args = each.parse_args(words)
    with TemporaryDirectory() as folder:
        cases = cases_of(runs_of(args, folder), 40 if args.quick else args.samples)
    uniforms, lines, parts = judged(cases, args.samples)
    if args.write is None:
        print("\n\n".join(parts))
        return
    picture(args.write.with_suffix(".png"), cases, uniforms, *lines)
    shown = f"![error over calls]({args.write.stem}.png)"
    intent = (__doc__ or "").split("\n\n", 2)[2].strip()
    write_text(args.write, "\n\n".join(["# Samplers that use what a map is wrong by", intent, shown, *parts]) + "\n")


if __name__ == "__main__":
    main()

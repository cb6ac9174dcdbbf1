r"""How wrong is a trained map, for which samples, and where? Estimates without a solve of the truth, and the truth.

    python -m experiments.certificate digits checkerboard --write experiments/results/certificate.md

Every map is held to the flow of its own field $v_{t,t}$ from the same base samples. The *estimate* of the error of a
sample is the linear equation of the error along the path that the sampler itself takes, driven by its residual
(`flowops.certificates.tangent_error`): the true path is not solved for. The *error* is that against a solve, on a
subset. Sizes are root mean squares over the entries of a sample. *Effectivity* is estimate over error (5 %, median,
95 % of the samples), *rank* Spearman's correlation of the two: whether the estimate says which samples are wrong. A
few estimates far above all errors belong to samples on whose way the field is so steep that the equation is not linear
any more, as between the cells of the board: there it says that a sample is wrong, and not by how much.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from experiments import checkerboard, cifar10_cpu, digits_lsd
from experiments._certified import Measured, densities, measured, trajectories
from experiments._certified_figure import save_certificate
from experiments._recipes import stage, status
from experiments.benchmarks.page import about, table
from flowops._files import write_text
from flowops.cli.console import to_stderr
from flowops.training import HardwareConfig, LogConfig, NetworkConfig, Run, TrainConfig


@dataclass(frozen=True)
class Case:
    """A run and how much of it is looked at.

    Attributes:
        config: of the run.
        n: samples whose error is estimated.
        subset: of them are held to a solve.
        cells: of the map of errors over (s, t), a side.
        said: what the page says of the run.
        dense: samples whose densities are had, and whether trajectories are; 0 for none.
        steps: of the samplers.
        few: those of them whose error is estimated on the subset alone.
        tolerance: of the estimate's solve.
    """

    config: TrainConfig
    n: int
    subset: int
    cells: int
    said: str
    dense: int = 0
    steps: tuple[int, ...] = (1, 2, 4, 8)
    few: tuple[int, ...] = ()
    tolerance: float = 1e-4


CASES: Mapping[str, Case] = {
    "digits": Case(digits_lsd.CONFIG, 1_000, 100, 8, "`flowops train digits`, 2,600 steps of 256, 8 x 8 pixels", 40),
    "checkerboard": Case(
        replace(
            checkerboard.CONFIG,
            minutes=0.0,
            steps=2_000,
            batch=1_024,
            data_options=("pairs=65536",),
            network=NetworkConfig("mlp", width=128, depth=4, octaves=4),
            hardware=HardwareConfig(compile="no"),
        ),
        1_000,
        200,
        8,
        "`experiments.checkerboard` cut short, 2,000 steps of 1,024",
        40,
    ),
    "cifar10": Case(
        replace(
            cifar10_cpu.CONFIG,
            steps=600,
            checkpoint_every=100,
            network=NetworkConfig("unet", channels=16, multipliers=(1, 2, 2), blocks=1, attention=()),
        ),
        1_000,
        64,
        4,
        "CIFAR-10 (JPEG), 32 x 32 pixels, a U-Net of 16 channels after 600 steps of 64",
        steps=(1, 2, 4),
        few=(2, 4),
        tolerance=1e-2,
    ),
}


def number(value: float | None) -> str:
    """Three digits, or nothing."""
    return "" if value is None else f"{value:.3g}"


def quantiles(values: torch.Tensor, *places: float) -> str:
    """Some of them, side by side."""
    return " / ".join(number(float(v)) for v in values.double().quantile(torch.tensor(places).double()))


def of_errors(found: Measured) -> str:
    """The table of estimates and errors by number of steps."""
    head = ("steps", "estimate, 5 / 50 / 95 %", "largest", "error, median", "effectivity", "rank")
    rows = [
        (
            k,
            quantiles(found.estimate[k], 0.05, 0.5, 0.95),
            number(float(found.estimate[k].max())),
            number(float(found.error[k].median())),
            quantiles(found.effectivity(k), 0.05, 0.5, 0.95),
            f"{found.correlation(k):.3f}",
        )
        for k in found.error
    ]
    return table(head, rows)


def of_shares(found: Measured) -> str:
    """What each step of the longest sampler adds."""
    k = len(found.shares)
    places = [f"{i / k:g} to {(i + 1) / k:g}" for i in range(k)]
    return table(("step", *places), [("share", *(f"{float(v):.2f}" for v in found.shares))])


def of_records(records: Sequence[Mapping[str, float]], first: Sequence[str] = ()) -> str:
    """Records of numbers as a table, each behind its name if it has one."""
    head = list(dict.fromkeys(key for record in records for key in record))
    rows = [[*first[i : i + 1], *(number(record.get(key)) for key in head)] for i, record in enumerate(records)]
    return table((*([""] if first else []), *head), rows)


def section(name: str, case: Case, run: Run, found: Measured, picture: str) -> str:
    """What the page says of a run."""
    parts = [
        f"## {name}",
        f"{case.said}. {case.n:,} base samples, {case.subset} of them held to a solve"
        + (f"; by {' and '.join(map(str, case.few))} steps these alone." if case.few else "."),
        of_errors(found),
        f"![estimates against errors, estimates, errors over (s, t), shares of the steps]({picture})",
        f"Shares of the steps of the sampler of {case.steps[-1]} in the mean square of the estimate at the end:",
        of_shares(found),
    ]
    if case.dense:
        shapes = trajectories(run, case.subset, case.subset)
        parts += [
            "Trajectories from 0 to 1: kinetic energy, its gaps of curves and of pairing above $W_2^2$ between the "
            "samples, length over chord and angle turned (medians), variance on the first axes (medians), local "
            "Lipschitz constants.",
            of_records(list(shapes.values()), list(shapes)),
            f"Log-density in nats of {case.dense} states that the field carries, as samples of the map: the part with "
            "a preimage, how far the exact determinants are off the density of the field (median, root mean square), "
            "and how far 8 random signs are off those, root mean square and as stated, for the part whose truncation "
            "is less than the stated error.",
            of_records(densities(run, case.dense, case.steps)),
        ]
    return "\n\n".join(parts)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    each = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    each.add_argument("cases", nargs="*", default=["digits", "checkerboard"], help=f"of {', '.join(CASES)}")
    each.add_argument("--out", type=Path, default=Path("runs/certificate"), help="folder of the runs")
    each.add_argument("--write", type=Path, help="a Markdown file, beside which the figures go; else into --out")
    each.add_argument("--run", type=Path, help="a run that is there, in place of training one")
    each.add_argument("--device", default="cpu", help="where that run computes")
    each.add_argument("--data", help="data of cifar10, folder:PATH")
    for name, what in (("n", "samples"), ("subset", "samples held to a solve"), ("steps", "of training")):
        each.add_argument(f"--{name}", type=int, help=what)
    found = each.parse_args(words)
    for name in found.cases:
        if name not in CASES:
            raise ValueError(f"`cases` must be of {', '.join(CASES)}, got {name!r}.")
    return found


def chosen(name: str, args: argparse.Namespace) -> Case:
    """A case with what the command line changes."""
    changed: dict[str, Any] = {key: getattr(args, key) for key in ("n", "subset") if getattr(args, key)}
    case = replace(CASES[name], **changed)
    case = replace(case, subset=min(case.subset, case.n), dense=min(case.dense, case.subset))
    if args.run:
        return replace(case, said="A run of its own")
    config = replace(case.config, out=str(args.out / name), log=LogConfig(progress=False))
    if args.steps:
        config = replace(config, steps=args.steps)
    return replace(case, config=replace(config, dataset=args.data) if name == "cifar10" and args.data else config)


def go(words: Sequence[str] | None = None, report: Callable[[str], None] = to_stderr) -> None:
    """Train what is not trained, measure, write."""
    args, parts = arguments(words), []
    path = args.write or args.out / "certificate.md"
    for name in args.cases:
        case = chosen(name, args)
        run = Run.load(args.run, device=args.device) if args.run else stage(case.config)
        report(f"{name}: errors of {case.n:,} samples")
        found = measured(
            run, case.n, case.subset, case.cells, case.steps, few=case.few, tolerance=case.tolerance, report=report
        )
        picture = path.with_name(f"{path.stem}_{name}.png")
        save_certificate(picture, found)
        parts.append(section(name, case, run, found, picture.name))
    intent = (__doc__ or "").split("\n\n", 2)[2].strip()
    write_text(path, "\n\n".join(["# Certificates of trained maps", intent, about(), *parts]) + "\n")
    report(f"wrote {path}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(status(go, "certificate"))

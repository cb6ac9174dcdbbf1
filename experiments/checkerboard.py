"""A flow map learned on the checkerboard: its KL by number of steps, the solver it replaces, its residuals, a figure.

    python -m experiments.checkerboard --method lsd --minutes 2

trains, prints the divergence of 64,000 samples on 50 x 50 cells after 1, 2, 4, 8 and 16 network calls beside that of
dopri5 on the map's own field, and writes `checkerboard.md` and `checkerboard.png` into `--out`. Ctrl-C ends the
training early and judges what there is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor

from experiments._judging import (
    SAMPLES,
    STEPS,
    Progress,
    divergences,
    push,
    residual_maps,
    save_board,
)
from experiments._two_dimensions import BASE, STEADY, Board, Plan, Trained, board_of, train
from flowops._files import write_text
from flowops.methods import METHODS, get_method
from flowops.sampling import solve

TOLERANCE = 1e-3


def parse(arguments: list[str] | None = None) -> tuple[Plan, Board, Path]:
    """Read the command line; every mistake ends in one sentence."""
    parser = argparse.ArgumentParser(prog="experiments.checkerboard", description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="lsd", help=f"one of {', '.join(METHODS)}")
    parser.add_argument("--alpha", default=BASE, help="base coefficient; by default the base has the data's deviation")
    parser.add_argument("--beta", default="t", help="data coefficient")
    parser.add_argument("--minutes", type=float, default=2.0, help="time for the training, with all preparations")
    parser.add_argument("--steps", type=int, default=0, help="number of steps, in place of a time")
    parser.add_argument("--batch", type=int, default=2048, help="samples per step")
    parser.add_argument("--pairs", type=int, help="pairs coupled by optimal transport; 0 for none, as with a teacher")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/checkerboard"), help="folder for the table and figure")
    args = parser.parse_args(arguments)
    try:
        board, plan = board_of(args.alpha, args.beta), plan_of(args)
        args.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except OSError as error:
        parser.exit(2, f"{parser.prog}: --out must be a folder, {args.out} cannot be made: {error.strerror}.\n")
    return plan, board, args.out


def plan_of(args: argparse.Namespace) -> Plan:
    """The training that the options ask for."""
    for name, least in (("minutes", 0.01), ("steps", 0), ("batch", 2)):
        if not getattr(args, name) >= least:
            raise ValueError(f"--{name} must be at least {least}, got {getattr(args, name)}; pass a larger number.")
    needs = get_method(args.method).row.teacher
    if needs == "map":
        raise ValueError(f"--method {args.method} needs the map of a previous round; choose one with a field, or none.")
    taught = "field" in needs
    if taught and args.pairs:
        raise ValueError(
            f"--pairs must be 0 with {args.method}, whose teacher is the field of independent pairs; drop it."
        )
    pairs = 0 if taught else Plan.pairs if args.pairs is None else args.pairs
    options = STEADY.get(args.method, {})
    return Plan(args.method, options, args.minutes, args.steps, args.batch, pairs=pairs, seed=args.seed)


def judge(trained: Trained, board: Board, seed: int) -> tuple[str, dict[str, Tensor]]:
    """The table of divergences, and the samples that it is about."""
    x0 = board.sample(0.0, SAMPLES, generator=torch.Generator().manual_seed(seed))
    target = board.sample_data(SAMPLES, generator=torch.Generator().manual_seed(seed))
    clouds = {"target": target} | {f"{n} step{'s' * (n > 1)}": push(trained.X, x0, n) for n in STEPS}
    found = solve(trained.X.velocity(), x0, "dopri5", tolerance=TOLERANCE)
    solved, calls = found.x, found.calls
    numbers = ["0", *map(str, STEPS), f"{calls:.0f}"]
    lines = ["| samples | network calls | KL, 50 x 50 | KL, 48 x 48 |", "|---|---|---|---|"]
    for (name, cloud), number in zip({**clouds, f"dopri5, {TOLERANCE:g}": solved}.items(), numbers, strict=True):
        coarse, fine = divergences(cloud)
        lines.append(f"| {name} | {number} | {coarse:.4f} | {fine:.4f} |")
    return "\n".join(lines) + "\n", clouds


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    plan, board, out = parse(arguments)
    # torch warns of its own scripting at the first forward-mode derivative
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    trained = train(plan, board, Progress(f"{plan.method} "))
    if trained.interrupted:
        print(f"interrupted after {trained.steps} steps; the average so far is judged")
    if not trained.steps:
        return 1
    table, clouds = judge(trained, board, plan.seed + 1)
    maps = residual_maps(trained.X, board)
    sizes = ", ".join(f"{name} {values.nanmean():.3f}" for name, values in maps.items())
    command = f"python -m experiments.checkerboard {shlex.join(sys.argv[1:] if arguments is None else arguments)}"
    report = (
        f"# Checkerboard by {plan.method}\n\n`{command.strip()}` (torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {trained.steps} steps in {trained.seconds:.0f} s)\n\n{table}\n"
        f"Residuals against the map's own field, root mean square over $s\\le t$: {sizes}.\n"
    )
    write_text(out / "checkerboard.md", report)
    print(report)
    save_board(out / "checkerboard.png", clouds, maps, trained.losses)
    print(f"wrote {out / 'checkerboard.md'} and {out / 'checkerboard.png'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; no half-written file is left behind")

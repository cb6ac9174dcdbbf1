"""The checkerboard protocol of 2505.18825 (Table 1) for self-distillation and for distillation of the exact field.

    python -m experiments.checkerboard_protocol --minutes 10

trains a map by each method with the same network, batch and time, and writes their divergences (64,000 samples, 1 to 16
steps, 50 x 50 cells and the 48 x 48 that fit the board) to `experiments/results/checkerboard_protocol.md` and `.json`;
methods of an earlier call are kept, so that one can be trained again. The floor is what exact samples score. `fmm` and
`meanflow` appear twice: with the conditional velocity, as in their papers, and with the exact field in its place, rows
that are added to the table of methods below.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from experiments._judging import BINS, SAMPLES, STEPS, Progress, divergences, push
from experiments._two_dimensions import STEADY, Board, Plan, board_of, train
from flowops._files import write_text
from flowops.methods import METHODS, TEACHER, Term, get_method, row
from flowops.methods.sides import direct, eulerian_velocity
from flowops.times import DataRatio, FullSquare, UpperTriangle

fmm_b = row(
    "fmm-b",
    Term(direct, TEACHER, law=FullSquare()),
    teacher="field",
    source="2406.07507, with b in place of the conditional velocity",
    summary="`fmm` without the noise of the conditional velocity.",
)
meanflow_b = row(
    "meanflow-b",
    Term(eulerian_velocity, TEACHER, "b_s + (t-s) D_s v", law=DataRatio(UpperTriangle(), 0.25)),
    teacher="field",
    stop_gradient=True,
    source="2505.13447, with b in place of the conditional velocity; 2505.18825 (39)",
    summary="`meanflow` without the noise of the conditional velocity.",
)
SELF = ("lsd", "esd", "psd-m", "psd-u", "fmm", "meanflow")
TAUGHT = ("lmd", "emd", "fmm-b", "meanflow-b")
PAPER = {
    "lsd": (0.086, 0.077, 0.071, 0.070, 0.071),
    "esd": (0.098, 0.092, 0.083, 0.082, 0.075),
    "psd-m": (0.146, 0.089, 0.081, 0.072, 0.069),
    "psd-u": (0.111, 0.107, 0.075, 0.073, 0.068),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; every mistake ends in one sentence."""
    parser = argparse.ArgumentParser(prog="experiments.checkerboard_protocol", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=[*SELF, *TAUGHT], help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="time for each training")
    parser.add_argument("--steps", type=int, default=0, help="number of steps of each training, in place of a time")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=0, help="pairs coupled by optimal transport, without a teacher")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="folder for the table")
    args = parser.parse_args(arguments)
    try:
        for name in args.methods:
            if get_method(name).row.teacher == "map":
                raise ValueError(f"--methods must not need the map of a previous round, as {name} does; leave it out.")
        if args.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"--device must be there, got {args.device} and no CUDA; pass --device cpu.")
        for option in ("batch", "width"):
            if getattr(args, option) < 2:
                raise ValueError(f"--{option} must be at least 2, got {getattr(args, option)}; pass 256, say.")
        args.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return args


def record(plan: Plan, board: Board, device: str) -> dict[str, Any]:
    """One training and its divergences; one that is interrupted ends everything."""
    trained = train(plan, board, Progress(f"{plan.method:<12} "), device)
    if trained.interrupted:
        raise KeyboardInterrupt
    x0 = board.to("cpu").sample(0.0, SAMPLES, generator=torch.Generator().manual_seed(plan.seed + 1))
    scores = [divergences(push(trained.X, x0, n)) for n in STEPS]
    values = {f"{bins}": [score[k] for score in scores] for k, bins in enumerate(BINS)}
    return {"steps": trained.steps, "seconds": trained.seconds, **values, "plan": asdict(plan)}


def earlier(folder: Path, methods: list[str]) -> dict[str, dict[str, Any]]:
    """The records of other methods that an earlier call left there."""
    path = folder / "checkerboard_protocol.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {name: entry for name, entry in found.items() if name in METHODS and name not in methods}


def table(records: dict[str, dict[str, Any]], key: str) -> str:
    """The divergences of one histogram as a Markdown table."""
    lines = ["| method | training steps | " + " | ".join(map(str, STEPS)) + " |", "|---" * (len(STEPS) + 2) + "|"]
    for name, entry in records.items():
        lines.append(f"| {name} | {entry['steps'] or ''} | " + " | ".join(f"{v:.4f}" for v in entry[key]) + " |")
        if key == str(BINS[0]) and name in PAPER:
            lines.append(f"| *{name}, paper* | 150000 | " + " | ".join(f"*{v:.3f}*" for v in PAPER[name]) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Train and judge every method; the files are written anew after each."""
    args = parse(arguments)
    # torch warns of its own scripting at the first forward-mode derivative
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    exact = divergences(board_of().sample_data(SAMPLES, generator=torch.Generator().manual_seed(args.seed)))
    floor = {str(bins): [value] * len(STEPS) for bins, value in zip(BINS, exact, strict=True)}
    records = {"exact samples": {"steps": 0, **floor}} | earlier(args.out, args.methods)
    common = Plan(minutes=args.minutes, steps=args.steps, batch=args.batch, width=args.width, seed=args.seed)
    cpu = f"CPU, {torch.get_num_threads()} threads"
    machine = torch.cuda.get_device_name() if args.device.startswith("cuda") else cpu
    command = shlex.join(sys.argv[1:] if arguments is None else arguments)
    for name in args.methods:
        pairs = 0 if "field" in get_method(name).row.teacher else args.pairs
        plan = replace(common, method=name, options=STEADY.get(name, {}), pairs=pairs)
        records[name] = record(plan, board_of(), args.device)
        text = (
            f"# Divergence on the checkerboard by number of steps\n\n`python -m experiments.checkerboard_protocol "
            f"{command}` ({machine}, torch {torch.__version__}, seed {args.seed})\n\n50 x 50 cells, the protocol of "
            f"2505.18825:\n\n{table(records, '50')}\n48 x 48 cells, which no edge of the board cuts:\n\n"
            f"{table(records, '48')}"
        )
        write_text(args.out / "checkerboard_protocol.md", text)
        write_text(args.out / "checkerboard_protocol.json", json.dumps(records, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; the methods that were done are in the table")

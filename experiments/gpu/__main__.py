"""The figures that want a GPU, in stages of at most eight minutes; call again to go on.

    python -m experiments.gpu --list                            # the stages, and how far they are
    python -m experiments.gpu                                   # all that is not finished, one after the other
    python -m experiments.gpu --stage steps --minutes 8         # one of them
    python -m experiments.gpu --dataset cifar10 --data PATH     # on the pictures; without, on smooth noise
    python -m experiments.gpu --tiny                            # all of it on a CPU, with tiny networks, to try it out

Each stage writes FOLDER/<stage>.json after every measurement, and FOLDER/README.md. A stage that is finished is skipped
unless --again; one that was killed goes on with what is missing. A measurement that ends its process twice is given up.
With --again the stage training removes its run, RUNS/gpu_DATASET or RUNS/gpu_tiny_DATASET, and begins another.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

import torch

from experiments.gpu.battery import STAGES, perform
from experiments.gpu.recipe import Setting

RESULTS = Path(__file__).parents[1] / "results" / "gpu"
GRACE = 90.0  # seconds beyond its minutes after which a stage in a process of its own is killed


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; 0 when it is finished, 3 when a stage wants another call, 1 if it is refused or fails."""
    args = _parsed(sys.argv[1:] if words is None else words)
    folder = args.folder or (args.runs / "gpu_tiny" if args.tiny else RESULTS)
    if args.list:
        return _listed(folder)
    if not (args.tiny or torch.cuda.is_available()):
        sys.stderr.write(
            "The stages must have a CUDA device, and there is none; pass --tiny to try them out on a CPU.\n"
        )
        return 1
    names = args.stage or list(STAGES)
    device = torch.device("cpu" if args.tiny and not torch.cuda.is_available() else "cuda")
    setting = Setting(device, args.tiny, args.dataset, args.data, args.runs)
    try:
        _ = setting.dataset  # what is wrong with it is told once, and not by every measurement
    except (ValueError, TypeError, OSError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if len(names) > 1:  # each in a process of its own, with the memory and the compiler to itself
        return max(_in_a_process(name, args, folder) for name in names)
    try:
        done = perform(names[0], setting, folder, args.minutes, again=args.again, say=_say)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if done else 3


def _parsed(words: list[str]) -> argparse.Namespace:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        "python -m experiments.gpu", description=lines[0], epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--stage", nargs="+", choices=list(STAGES), metavar="NAME", help=", ".join(STAGES))
    parser.add_argument("--minutes", type=float, default=8.0, help="of each stage; 8")
    parser.add_argument("--again", action="store_true", help="measure anew what is finished")
    parser.add_argument(
        "--tiny", action="store_true", help="small networks and batches, on a CPU where there is no GPU"
    )
    parser.add_argument("--list", action="store_true", help="only say which stages there are")
    parser.add_argument(
        "--dataset", default="", metavar="NAME", help="cifar10 or folder:PATH, say; smooth noise if left out"
    )
    parser.add_argument("--data", default="", metavar="PATH", help="folder of a data set that lives in one")
    parser.add_argument(
        "--folder", type=Path, help="of the results; experiments/results/gpu, with --tiny RUNS/gpu_tiny"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where the run of the stage training lies; runs"
    )
    return parser.parse_args(words)


def _in_a_process(name: str, args: argparse.Namespace, folder: Path) -> int:
    """One stage; killed some time after its minutes. What was killed, by whomever, wants another call."""
    command = [sys.executable, "-m", "experiments.gpu", "--stage", name, "--minutes", str(args.minutes)]
    command += ["--folder", str(folder), "--runs", str(args.runs)]
    command += [word for word in ("--again", "--tiny") if getattr(args, word[2:])]
    for option in ("dataset", "data"):
        command += [f"--{option}", getattr(args, option)] if getattr(args, option) else []
    try:
        code = subprocess.run(command, timeout=60 * args.minutes + GRACE).returncode
    except subprocess.TimeoutExpired:
        code = -signal.SIGKILL
    if code < 0:
        _say(f"{name}: killed by signal {-code}; call again")
        return 3
    return code


def _listed(folder: Path) -> int:
    """A line for each stage."""
    for name, stage in STAGES.items():
        path, state = folder / f"{name}.json", "not begun"
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            state = "finished" if held["finished"] else f"{len(held['results'])} measured, not finished"
            state += f", {len(held['failed'])} failed" * bool(held["failed"])
        print(f"{name:10} {stage.about}: {state}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

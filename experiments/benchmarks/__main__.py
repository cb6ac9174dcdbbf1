"""All benchmarks, ours and the peers', part by part; call again to go on.

    python -m experiments.benchmarks                    # all that is not finished, one after the other
    python -m experiments.benchmarks training solvers   # some of them
    python -m experiments.benchmarks --list             # the parts, and how far they are
    python -m experiments.benchmarks --quick            # all of it at tiny sizes, to see that it runs

Each part is a process of its own that writes OUT/<part>.md with its pictures; what is compared takes turns in it. The
numbers of all are kept in OUT/benchmarks.json after every part, and OUT/benchmarks.md is their index. A part that is
finished is skipped unless --again. Peers that are not installed are left out; `pip install 'flowops[benchmarks]'`
brings them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.page import PEERS, Headline, about, left_out, table
from experiments.benchmarks.timing import environment
from experiments.gpu.ledger import Ledger
from flowops._files import write_text

RESULTS = Path(__file__).parents[1] / "results"
LEDGER = "benchmarks.json"


@dataclass(frozen=True)
class Part:
    """What a part is, the arguments of the whole run, and how it is asked for.

    Attributes:
        about: what is measured.
        words: arguments of its command beside those that every part has.
        named: whether it is run only where it is named, since it takes long.
    """

    about: str
    words: tuple[str, ...] = ()
    named: bool = False


PARTS: dict[str, Part] = {
    "training": Part("a whole training step beside JAX, torchcfm and flow_matching, and its memory"),
    "methods": Part("a training step of every row and its memory", ("--rounds", "3")),
    "unet": Part("a training step on images; its compilation takes minutes", named=True),
    "solvers": Part("work and precision of solvers", ("--rounds", "3")),
    "solution_operator": Part("a solve and its derivative beside one bare call"),
    "detest": Part("the problems of DETEST beside torchdiffeq"),
    "stiff": Part("stiff equations"),
    "small": Part("a single small equation"),
    "sampling": Part("a map in few steps beside solvers, at equal distance"),
    "certificates": Part("the certificate of a distilled planar map, its cost and how near it is"),
    "startup": Part("the start of a process"),
    "growth": Part("cost against dimension, batch, steps, size of images and processes"),
}
"""In the order in which they are run."""


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if all of it has numbers."""
    args = _parsed(words)
    out = args.out or (Path("runs/benchmarks_quick") if args.quick else RESULTS)
    try:
        ledger = Ledger(out / LEDGER, torch.device("cpu"), tiny=args.quick, again=False)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if args.list:
        for name, part in PARTS.items():
            print(f"{name:18} {part.about}: {_state(name, ledger)}")
        return 0
    wanted = args.parts or [name for name, part in PARTS.items() if not part.named]
    ledger.begin()
    for name in wanted:
        if not _present(name):
            _say(f"{name}: there is no such benchmark in this checkout; left out")
        elif args.again or name not in ledger.content["results"]:
            _measure(name, ledger, out, args.quick)
            write_text(out / "benchmarks.md", index(ledger.content["results"]))
        else:
            _say(f"{name}: finished before; pass --again to measure anew")
    return int(any(name in ledger.content["failed"] for name in wanted))


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        "python -m experiments.benchmarks", description=lines[0], epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all but unet if left out")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; the numbers say nothing")
    parser.add_argument("--again", action="store_true", help="measure anew what is finished")
    parser.add_argument("--list", action="store_true", help="only say which parts there are")
    parser.add_argument("--out", type=Path, help="experiments/results; with --quick runs/benchmarks_quick")
    args = parser.parse_args(words)
    if unknown := [name for name in args.parts if name not in PARTS]:
        parser.error(f"`PART` must be one of {', '.join(PARTS)}, got {unknown[0]}; see --list.")
    return args


def _present(name: str) -> bool:
    return importlib.util.find_spec(f"experiments.benchmarks.{name}") is not None


def _state(name: str, ledger: Ledger) -> str:
    if not _present(name):
        return "not here"
    if name in ledger.content["failed"]:
        return f"failed, {ledger.content['failed'][name].splitlines()[-1][:80]}"
    return "finished" if name in ledger.content["results"] else "not begun"


def command(name: str, out: Path, headline: Path, quick: bool) -> list[str]:
    """The command of a part."""
    words = [sys.executable, "-m", f"experiments.benchmarks.{name}", "--write", str(out / f"{name}.md")]
    return [*words, "--headline", str(headline), *(["--quick"] if quick else PARTS[name].words)]


def started(words: Sequence[str]) -> tuple[int, str]:
    """Run a command with one thread; its status and what it complained of."""
    done = subprocess.run(words, env=environment(1), stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def _measure(name: str, ledger: Ledger, out: Path, quick: bool) -> None:
    """Run one part and keep its headline, or why there is none."""
    _say(f"{name}: {PARTS[name].about}")
    begun = time.monotonic()
    ledger.content["failed"].pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "headline.json"
        status, said = started(command(name, out, file, quick))
        if status:
            ledger.fail(name, said[-600:].strip() or f"It ended with status {status}.")
            _say(f"{name} failed: {ledger.content['failed'][name]}")
            return
        lines = json.loads(file.read_text(encoding="utf-8"))
    ledger.keep(name, {"headline": lines, "seconds": round(time.monotonic() - begun)})
    _say(f"{name}: {time.monotonic() - begun:.0f} s")


def index(results: dict[str, Any]) -> str:
    """The page of all parts that have numbers."""
    rows = [
        (f"[{name}]({name}.md)", *Headline(*line))
        for name in PARTS
        if name in results
        for line in results[name]["headline"]
    ]
    minutes = sum(each["seconds"] for each in results.values()) / 60
    parts = [
        "# Benchmarks",
        "`python -m experiments.benchmarks` writes this page and those that it names. What is compared took turns in "
        "one process, with one thread where nothing else is said; times are medians of processor seconds.",
        about(f"{minutes:.0f} minutes in all", peers=PEERS, threads="1 or 2"),
        *left_out(PEERS),
        table(("page", "what", "measured", "wanted"), rows),
    ]
    return "\n\n".join(parts) + "\n"


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

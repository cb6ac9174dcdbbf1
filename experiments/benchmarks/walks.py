"""Through how many files of the library, and how many calls of its functions, one thing goes.

    python -m experiments.benchmarks.walks

counts with `sys.setprofile`, over functions and comprehensions of flowops and not over what torch calls in between: one
`lsd` loss of a perceptron, two steps of `flowops train digits`, and `flowops sample` of that run. A reader who follows
one of them opens as many files; every call is work that is not arithmetic. The training is the plain one of any data
set, in average velocities by Adam: a preconditioning, a law of times or Muon, which suit digits, are files beside it.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

import flowops
from flowops import LearnedMap, interpolants
from flowops.cli import main as command
from flowops.methods import get_method
from flowops.networks import MLP

ROOT = Path(flowops.__file__).parent
PLAIN = ("--method", "esd", "--network.parameterization", "average-velocity", "--optimizer.kind", "adam")
BY_TORCH = {"_zero_tangents.py"}
"""Kernels, which torch's dispatcher calls for one of its own operations."""


@dataclass(frozen=True)
class Walk:
    """What one thing touches.

    Attributes:
        calls: number of calls by file.
    """

    calls: Counter[str]

    @property
    def files(self) -> int:
        """How many."""
        return len(self.calls)

    @property
    def hops(self) -> int:
        """Calls in all of them."""
        return self.calls.total()


def walk(work: Callable[[], object]) -> Walk:
    """What `work` touches; what is done once only, such as imports, should be done before."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(f"{ROOT}/") or frame.f_code.co_name == "<module>":
            return
        if (name := path.removeprefix(f"{ROOT}/")) not in BY_TORCH:
            calls[name] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return Walk(calls)


def loss() -> Walk:
    """One `lsd` loss of a perceptron, without its gradient."""
    X, I, method = LearnedMap(MLP(2)), interpolants.linear(), get_method("lsd")
    x0, x1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(0))
    method(X, I, x0, x1)
    return walk(lambda: method(X, I, x0, x1))


def training(folder: Path) -> Walk:
    """Two steps of `flowops train digits`."""
    words = ["train", "digits", *PLAIN, "--steps", "2", "--batch", "8", "--log.no-progress", "--out"]
    _quietly([*words, str(folder / "first")])
    return walk(lambda: _quietly([*words, str(folder / "run")]))


def sampling(folder: Path) -> Walk:
    """`flowops sample` of that run."""
    words = ["sample", str(folder / "run"), "--n", "4", "--out", str(folder / "samples.png")]
    _quietly(words)
    return walk(lambda: _quietly(words))


def _quietly(words: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        if command(words):
            raise RuntimeError(said.getvalue())


def main() -> None:
    """Print the table."""
    # torch warns of its own scripting at the first forward-mode derivative
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        walks = {
            "one `lsd` loss": loss(),
            "two steps of `flowops train digits`": training(folder),
            "`flowops sample`": sampling(folder),
        }
    print("| walk | files | calls |\n|---|---|---|")
    for name, found in walks.items():
        print(f"| {name} | {found.files} | {found.hops} |")


if __name__ == "__main__":
    main()

"""How long the check of an object of one's own takes, and what it says.

    OMP_NUM_THREADS=1 python -m experiments.own_objects --write experiments/results/own_objects.md

Each is checked once at the defaults of `flowops.checks`, in one process, after a check that is not counted; seconds are
those of the processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from experiments.benchmarks.page import about, table
from experiments.equations import field, kepler, lorenz, van_der_pol
from flowops import FlowMap, Interpolant, VelocityField, problems
from flowops._files import write_text
from flowops.checks import Report, check_field, check_flow_map, check_interpolant


def convolution() -> VelocityField:
    """Two convolutions on images 3 x 8 x 8."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 3, 3, padding=1)).double()
    return VelocityField.from_function(lambda t, x: net(x) * t.cos()[:, None, None, None])


def euler(b: VelocityField) -> FlowMap:
    """One step of Euler's method."""
    return FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * b(s, x))


def objects() -> dict[str, Callable[[], Report]]:
    """What is checked, by name."""
    turning = problems.rotation(2.0)
    return {
        "schedule `(1-t)**4`, `t`": lambda: check_interpolant(Interpolant.from_expressions("(1-t)**4", "t")),
        "exact rotation": lambda: check_flow_map(turning.X, turning.b),
        "Euler step": lambda: check_flow_map(euler(turning.b), turning.b),
        "Lorenz": lambda: check_field(field(lorenz), event=(3,)),
        "Kepler": lambda: check_field(field(kepler), event=(4,)),
        "Van der Pol, 50": lambda: check_field(field(van_der_pol(50.0))),
        "convolution 3x8x8": lambda: check_field(convolution(), event=(3, 8, 8)),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    each.add_argument("--write", type=Path, help="file to write instead of printing")
    args = each.parse_args(words)
    check_interpolant(Interpolant.from_expressions("1-t", "t"))
    rows = []
    for name, check in objects().items():
        start = time.process_time()
        report = check()
        seconds = time.process_time() - start
        first = report.first_broken
        said = "holds" if first is None else f"first broken: {first.name}"
        undecided = ", ".join(v.name for v in report.undecided) or "-"
        rows.append((name, f"{seconds:.1f}", str(len(report.verdicts)), said, undecided))
    text = table(("object", "processor, s", "statements", "verdict", "not decided"), rows)
    page = "\n\n".join(["# Objects of one's own", __doc__.split("\n\n")[2].strip(), about("1 round"), text]) + "\n"
    if args.write is None:
        print(page)
    else:
        write_text(args.write, page)


if __name__ == "__main__":
    main()

"""The checkerboard protocol of 2505.18825 (Table 1) for self-distillation and for distillation of the exact field.

    python -m experiments.checkerboard_protocol --minutes 10 --out runs/checkerboard_protocol

trains a map by each method with the same network, batch and time, on independent pairs, and writes their divergences
(64,000 samples, 1 to 16 steps, 50 x 50 cells and the 48 x 48 that fit the board) to `protocol.md`; the floor is what
exact samples score. Every flag of `flowops train` but the method changes a setting of all; an interrupted comparison
goes on when the command is given again. `fmm` and `meanflow` appear twice: with the conditional velocity, as in their
papers, and with the exact field in its place, as rows of this file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from experiments._board import COLUMNS, SAMPLES
from experiments._recipes import configured, stage, status
from experiments.checkerboard import CONFIG as BOARD
from experiments.checkerboard import STEPS, settled
from flowops import interpolants, problems
from flowops._files import write_text
from flowops.cli.console import to_stderr
from flowops.methods import METHODS, TEACHER, preset, replaced, row
from flowops.runs import Run
from flowops.runs.processes import on_first
from flowops.times import DataRatio, UpperTriangle

fmm_b = row(
    "fmm-b",
    replaced(METHODS["fmm"], velocity=TEACHER),
    teacher="field",
    source="2406.07507, with b in place of the conditional velocity",
    summary="`fmm` without the noise of the conditional velocity.",
)
meanflow_b = preset(
    "meanflow-b",
    METHODS["ayf-emd"],
    "law=DataRatio(UpperTriangle(), 0.25)",
    replaced(METHODS["ayf-emd"], law=DataRatio(UpperTriangle(), 0.25)),
    source="2505.13447, with b in place of the conditional velocity; 2505.18825 (39)",
    summary="`meanflow` without the noise of the conditional velocity.",
)
CONFIG = replace(BOARD, dataset="checkerboard", out="runs/checkerboard_protocol")
ROWS = {name: name for name in ("lsd", "esd", "psd-m", "psd-u", "fmm", "meanflow", "lmd", "emd")}
ROWS |= {
    "fmm-b": "experiments.checkerboard_protocol:fmm_b",
    "meanflow-b": "experiments.checkerboard_protocol:meanflow_b",
}
Found = dict[str, tuple[str, Mapping[str, Sequence[float]]]]
PAPER = {
    "lsd": (0.086, 0.077, 0.071, 0.070, 0.071),
    "esd": (0.098, 0.092, 0.083, 0.082, 0.075),
    "psd-m": (0.146, 0.089, 0.081, 0.072, 0.069),
    "psd-u": (0.111, 0.107, 0.075, 0.073, 0.068),
}


def compare(words: Sequence[str] | None = None) -> None:
    """Train and judge by every method; the table is written anew after each."""
    config, _ = configured(CONFIG, "checkerboard_protocol", words)
    board = problems.checkerboard(interpolants.linear())
    exact = board.sample_data(SAMPLES, generator=torch.Generator().manual_seed(0))
    found: Found = {"exact samples": ("", {column: [kl(exact)(exact)] * 5 for column, kl in COLUMNS.items()})}
    out = Path(config.out)
    for name, method in ROWS.items():
        to_stderr(f"method {name}")
        run = stage(settled(replace(config, method=method)), out=str(out / name))
        on_first(partial(judge, run, name, found, out / "protocol.md"))
    on_first(lambda: print(f"{(out / 'protocol.md').read_text()}wrote {out / 'protocol.md'}"))


def judge(run: Run, name: str, found: Found, file: Path) -> None:
    """Add the divergences of a run to those that were found, and write them."""
    clouds = [run.draw(SAMPLES, steps=k, seed=1).x.cpu() for k in STEPS]
    found[name] = str(run.step), {column: [kl(x)(x) for x in clouds] for column, kl in COLUMNS.items()}
    write_text(file, "\n".join(f"{column}:\n\n{table(found, column)}" for column in COLUMNS))


def table(found: Found, column: str) -> str:
    """The divergences of one histogram as a Markdown table."""
    lines = ["| method | training steps | " + " | ".join(map(str, STEPS)) + " |", "|---" * (len(STEPS) + 2) + "|"]
    for name, (steps, values) in found.items():
        lines.append(f"| {name} | {steps} | " + " | ".join(f"{value:.4f}" for value in values[column]) + " |")
        if column == next(iter(COLUMNS)) and name in PAPER:
            lines.append(f"| *{name}, paper* | 150000 | " + " | ".join(f"*{v:.3f}*" for v in PAPER[name]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(status(compare, "checkerboard_protocol"))

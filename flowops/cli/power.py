"""`flowops power`: the power-function average of another width, from those that were saved in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowops._files import written
from flowops._named import require
from flowops.cli.console import to_stderr, to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.runs import posthoc, snapshots


@dataclass(frozen=True)
class Power:
    """Average the weights of RUN anew, from the power-function averages saved with its checkpoints.

    Attributes:
        run: folder of a run.
        width: relative width of the average, such as 0.07.
        step: at the end of which steps; the last one that was saved if left out.
        out: the weights, .safetensors; RUN/power-WIDTH.safetensors if left out.
    """

    run: str
    width: float
    step: int | None = None
    out: str | None = None


def run(args: Sequence[str]) -> int:
    """Average, write the weights, and say how they are used."""
    flags = {"run": Flag(positional=True), "out": Flag(shown="FILE")}
    given = parse(Power, args, "power", flags=flags, also={"power": "--power", "sigma_rel": "--width"})
    found = snapshots(given.run, to_stderr)
    step = max(snapshot.step for snapshot in found) if given.step is None else given.step
    weights = posthoc(found, given.width, step)
    out = Path(given.out) if given.out is not None else Path(given.run) / f"power-{given.width:g}.safetensors"
    if out.suffix != ".safetensors":
        raise ValueError(f"`out` must end in .safetensors, got {out}; rename it.")
    with written(out) as temporary:
        facts = {"width": f"{given.width:g}", "step": str(step), "snapshots": str(len(found))}
        require("safetensors.torch", "train").save_file(weights, temporary, metadata=facts)
    to_stdout(f"{out}: width {given.width:g} at step {step}, from {len(found)} averages")
    to_stdout(f"Sample it with flowops sample {given.run} --weights {out}")
    return 0

"""Which run a command looks at, which of its weights, along which times, and where it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flowops._arguments import whole
from flowops._named import require
from flowops.cli.console import to_stderr
from flowops.cli.parsing import Flag
from flowops.interpolants import Interpolant
from flowops.runs import HardwareConfig, Run
from flowops.runs.computing import Precision
from flowops.runs.fitting import fill, misfit
from flowops.runs.processes import launched, started
from flowops.sampling import grids

FLAGS = {
    "run": Flag(positional=True),
    "checkpoint": Flag(shown="STEP"),
    "average": Flag(shown="NAME"),
    "weights": Flag(shown="FILE"),
    "label": Flag(name="class", shown="INT"),
    "out": Flag(shown="FILE"),
    "grid": Flag(shown="{uniform,noise-levels,FILE}"),
}
NAMED_GRIDS = ("uniform", "noise-levels")


@dataclass(frozen=True)
class RunChoice:
    """A run on disk.

    Attributes:
        run: folder of a run.
        checkpoint: step of the checkpoint; the newest if left out.
        average: which average of the weights, such as 0.9999 or power-0.1, or none for the weights themselves; the
            first average of the run if left out.
        weights: file with other weights of the network, as flowops power writes it.
        device: where to compute, such as cpu or cuda; auto for cuda, mps or cpu, the first that is there.
    """

    run: str
    checkpoint: int | None = None
    average: str | None = None
    weights: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Sampling(RunChoice):
    """A run that is sampled.

    Attributes:
        precision: bf16 computes the network in bfloat16, times and states stay in float32.
        compile: compile the network, at its first call and once more for a last chunk of another size.
        chunk: samples computed together, which bounds the memory; chosen by their size if left out.
    """

    precision: Precision = "32"
    compile: bool = False
    chunk: int | None = None


def load(choice: RunChoice) -> Run:
    """The run with the weights that were asked for, and as it is to compute.

    Under torchrun or SLURM the processes find each other here, and each takes its device.

    Raises:
        FileNotFoundError: if there is no such run, checkpoint or file.
        ValueError: for weights of another network, and a device that is not there.
    """
    device = _device(choice.device)
    run = Run.load(choice.run, step=choice.checkpoint, average=choice.average, device=device, report=to_stderr)
    if choice.weights is not None:
        _replace_weights(run, Path(choice.weights))
    return run.on(precision=choice.precision, compile=choice.compile) if isinstance(choice, Sampling) else run


def grid_of(kind: str, steps: int | None, interpolant: Interpolant, name: str = "steps") -> list[float]:
    """The times of a grid: equal steps, EDM's noise levels, or those in a file, whose number of steps decides.

    Raises:
        ValueError: for a number of steps below 1, or beside a file that holds none of so many; it was given as `name`.
    """
    count = 1 if steps is None else whole(steps, name)
    if kind == "uniform":
        return grids.uniform(count)
    if kind == "noise-levels":
        return grids.noise_levels(count, interpolant)
    found = grids.load_grids(kind)
    if len(found) == 1 and steps not in (None, *found):
        raise ValueError(
            f"`{name}` must be left out beside a grid of {next(iter(found))} steps in {kind}, got {steps}."
        )
    if len(found) > 1 and steps not in found:
        held, given = ", ".join(map(str, found)), "none" if steps is None else steps
        raise ValueError(f"`{name}` must be one of {held} for the grids in {kind}, got {given}; pass one of them.")
    return found[steps] if steps in found else next(iter(found.values()))


def grids_of(
    kind: str, steps: Sequence[int] | None, default: Sequence[int], interpolant: Interpolant
) -> list[list[float]]:
    """A grid for each number of steps, or all that are in a file.

    Raises:
        ValueError: without any number of steps, and for other numbers than those of a file.
    """
    if steps is not None and not steps:
        raise ValueError("`steps` must hold at least one number of steps, got none; pass 1, 2 and 4, say.")
    if kind in NAMED_GRIDS:
        return [grid_of(kind, k, interpolant) for k in (default if steps is None else steps)]
    return [grid_of(kind, k, interpolant) for k in (steps or grids.load_grids(kind))]


def _device(name: str) -> torch.device:
    """The device of that name, which must take tensors; of several processes each its own."""
    try:
        if started() is not None:
            return launched(HardwareConfig(accelerator=name)).device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ValueError) as error:  # torch without CUDA asserts
        several = ", or auto" if started() is None else " without a number for several processes, or auto"
        raise ValueError(
            f"`device` must be one that is there, such as cpu or cuda{several}, got {name!r} "
            f"({str(error).splitlines()[0].rstrip('.')}); pass another."
        ) from error


def _replace_weights(run: Run, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"`weights` must be a file of weights, and {path} is none; check the path.")
    safetensors = require("safetensors", "train")
    try:
        weights = require("safetensors.torch", "train").load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"`weights` must be a safetensors file of the network of {run.folder.path}, and {path} is not "
            f"({str(error).splitlines()[0]}); write it with flowops power."
        ) from error
    if found := misfit(run.X.network, weights):
        raise ValueError(
            f"`weights` must be a safetensors file of the network of {run.folder.path}, and in {path} {found}; write "
            f"it with flowops power."
        )
    fill(run.X.network, weights)

"""Which run a command looks at, which of its weights, and where it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flowops._extras import require
from flowops.cli.parsing import Flag
from flowops.interpolants import Interpolant
from flowops.sampling import grids
from flowops.training import Run

FLAGS = {
    "run": Flag(positional=True),
    "checkpoint": Flag(shown="STEP"),
    "average": Flag(shown="NAME"),
    "weights": Flag(shown="FILE"),
    "label": Flag(name="class", shown="INT"),
    "out": Flag(shown="FILE"),
    "grid": Flag(shown="{uniform,noise-levels,FILE}"),
}


@dataclass(frozen=True)
class Source:
    """A run on disk.

    Attributes:
        run: folder of a run.
        checkpoint: step of the checkpoint; the newest if left out.
        average: which average of the weights, such as 0.9999 or power-0.1, or none for the weights themselves; the
            first average of the run if left out.
        weights: file with other weights of the network, as flowops power writes it.
        device: where to compute, such as cpu or cuda.
    """

    run: str
    checkpoint: int | None = None
    average: str | None = None
    weights: str | None = None
    device: str = "cpu"


def load(source: Source) -> Run:
    """The run with the weights that were asked for.

    Raises:
        FileNotFoundError: if there is no such run, checkpoint or file.
        ValueError: for weights of another network, and a device that is not there.
    """
    run = Run.load(source.run, step=source.checkpoint, average=source.average, device=_device(source.device))
    if source.weights is not None:
        _replace_weights(run, Path(source.weights))
    return run


def grid_of(kind: str, steps: int, interpolant: Interpolant) -> list[float]:
    """The times of a grid: equal steps, EDM's noise levels, or those in a file, whose number of steps decides."""
    if kind == "uniform":
        return grids.uniform(steps)
    return grids.noise_levels(steps, interpolant) if kind == "noise-levels" else grids.load_grid(kind)


def grids_of(kind: str, steps: Sequence[int], interpolant: Interpolant) -> list[list[float]]:
    """A grid for each number of steps, or the one in a file.

    Raises:
        ValueError: without any number of steps.
    """
    if not steps:
        raise ValueError("`steps` must hold at least one number of steps, got none; pass --steps 1 2 4.")
    if kind not in ("uniform", "noise-levels"):
        return [grids.load_grid(kind)]
    return [grid_of(kind, k, interpolant) for k in steps]


def _device(name: str) -> torch.device:
    """The device of that name, which must take tensors."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(
            f"`device` must be a device that is there, such as cpu or cuda, got {name!r} "
            f"({str(error).splitlines()[0].rstrip('.')}); pass another."
        ) from error


def _replace_weights(run: Run, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"`weights` must be a file of weights, and {path} is none; check the path.")
    safetensors = require("safetensors", "train")
    try:
        weights = require("safetensors.torch", "train").load_file(path)
        run.X.network.load_state_dict(weights)
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"`weights` must be a safetensors file of the network of {run.folder.path}, and {path} is not "
            f"({str(error).splitlines()[0]}); write it with flowops power."
        ) from error

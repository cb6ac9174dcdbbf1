r"""A sampler as a program of its own: the $k$ steps and the weights in one file, which runs without this package.

Such a file holds code. It is loaded only where its content is the one that was written, known by its SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from flowops._files import digest, written
from flowops.maps import FlowMap
from flowops.methods.point import null_label_of
from flowops.sampling.grids import check_grid
from flowops.sampling.noise import noise

CONDITIONS = ("label", "guidance", "interval")
"""What a program may take beside the states, in this order."""
CHECKED: tuple[int, ...] = (1, 3)
"""Batch sizes at which a program is compared with the sampler, none of them the one it was traced at."""


@dataclass(frozen=True)
class Exported:
    """A program that was written.

    Attributes:
        path: the file.
        sha256: of its content; `load_sampler` wants it.
        error: the largest difference from the sampler, relative to the largest value, over the fresh inputs.
    """

    path: Path
    sha256: str
    error: float


class GridSampler(nn.Module):
    """The steps of a map along a grid, with the conditions as inputs: what is traced."""

    def __init__(self, X: FlowMap, grid: list[float], names: tuple[str, ...]) -> None:
        super().__init__()
        self.X, self.grid, self.names = X, grid, names

    def forward(self, x0: Tensor, *conditions: Tensor) -> Tensor:
        X = self.X.given(**dict(zip(self.names, conditions, strict=True))) if self.names else self.X
        return X.compose(self.grid, x0)


@torch.no_grad()
def export_sampler(
    X: FlowMap,
    grid: Sequence[float],
    event: Sequence[int],
    path: Path | str,
    *,
    labels: bool = False,
    guidance: bool = False,
    interval: bool = False,
) -> Exported:
    r"""Write the sampler `(x0[, label][, guidance][, interval]) -> x1` along a grid as a `torch.export` program.

    It takes any batch size. The file is loaded again and compared with the original on fresh inputs before it takes its
    place. It runs on the device on which `X` is, in the dtype of its parameters, in the mode (training or evaluation)
    in which it is.

    Args:
        X: a map that traces, such as a `LearnedMap` of a network of this package.
        grid: strictly increasing times from 0 to 1.
        event: shape of a state.
        path: the file, ending in `.pt2`.
        labels: whether the program takes a label per sample, `[batch]`, int64.
        guidance: whether it takes a guidance scale per sample, `[batch]`, in the dtype of the state.
        interval: whether it takes an interval of guidance per sample, `[batch, 2]`, likewise.

    Raises:
        ValueError: for a grid or a name of a file that is none, and if the program disagrees with the sampler.
        TypeError: for conditions that the map does not take.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"`path` must end in .pt2, got {path.name}; torch.export reads no other name.")
    names = tuple(name for name, taken in zip(CONDITIONS, (labels, guidance, interval), strict=True) if taken)
    sampler = GridSampler(X, check_grid(grid), names)
    inputs = _inputs(X, event, names)
    batch, conditions = {0: torch.export.Dim("batch")}, len(sampler.names)
    shapes = (batch, (batch,) * conditions) if conditions else (batch,)
    program = torch.export.export(sampler, inputs(2), dynamic_shapes=shapes)
    with written(path) as temporary:
        torch.export.save(program, temporary)
        sha256 = digest(temporary, "sha256")
        loaded = load_sampler(temporary, sha256=sha256)
        error = max(_difference(loaded, sampler, inputs(n)) for n in CHECKED)
        if not error <= _tolerance(inputs(1)[0].dtype):
            raise ValueError(
                f"The exported program must give what the sampler gives, and differs by {error:.2g} of it; put the "
                f"network into evaluation mode, or sample without export."
            )
    return Exported(path, sha256, error)


def load_sampler(path: Path | str, *, sha256: str) -> nn.Module:
    """The program `(x0[, label][, guidance][, interval]) -> x1` of a file that `export_sampler` wrote.

    Args:
        path: the file.
        sha256: as `export_sampler` returned it. A program is code, so no other content is opened.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its content is another one.
    """
    if (found := digest(path, "sha256")) != sha256:
        raise ValueError(f"{path} must have the SHA-256 {sha256}, got {found}; export the sampler again.")
    return torch.export.load(str(path)).module().requires_grad_(False)


def _inputs(X: FlowMap, event: Sequence[int], names: tuple[str, ...]) -> Callable[[int], tuple[Tensor, ...]]:
    """Inputs of a batch size: noise, labels among those that a network inside the map knows, scales, intervals."""
    parameter = next(X.parameters(), torch.empty(0))
    own = {"device": parameter.device, "dtype": parameter.dtype}
    known = 1
    with suppress(ValueError):
        known = int(null_label_of(X))

    def inputs(n: int) -> tuple[Tensor, ...]:
        x0 = noise(n, event, seed=n, device=parameter.device, dtype=parameter.dtype)
        rows = torch.arange(n, **own)  # type: ignore[call-overload]
        conditions = {
            "label": torch.arange(n, device=parameter.device) % known,
            "guidance": 1 + rows / 2,
            "interval": torch.stack([0.1 + 0.1 * rows / n, 0.8 + 0 * rows], 1),
        }
        return (x0, *(conditions[name] for name in names))

    return inputs


def _difference(one: nn.Module, other: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    left, right = one(*inputs), other(*inputs)
    return float((left - right).abs().max() / right.abs().max())


def _tolerance(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).eps ** 0.5)

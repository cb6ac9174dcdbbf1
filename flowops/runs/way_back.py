"""A run that goes from data to noise, and what it wants to be told before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from flowops._arguments import check_state
from flowops.interpolants import Interpolant
from flowops.methods import goes_back
from flowops.runs.assembly import interpolant_of, method_of
from flowops.runs.folder import RunFolder
from flowops.runs.settings import TrainConfig
from flowops.sampling import Conditioning, Inverted, Way, round_trip


class Conditioned(Protocol):
    """What of a run the way back is made of."""

    @property
    def folder(self) -> RunFolder: ...
    @property
    def config(self) -> TrainConfig: ...
    @property
    def event(self) -> torch.Size: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def condition(self) -> tuple[int, ...] | None: ...
    @property
    def interpolant(self) -> Interpolant: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def two_sided(self) -> bool: ...

    def conditioning(
        self,
        n: int,
        label: Any,
        guidance: float | None,
        interval: tuple[float, float] | None,
        *,
        condition: Tensor | None,
    ) -> Conditioning: ...


class TwoSided:
    """What a run offers that goes both ways."""

    def invert(
        self: Conditioned,
        x1: Tensor,
        *,
        solver: str | None = None,
        steps: int | None = None,
        grid: Sequence[float] | None = None,
        tolerance: float | None = None,
        label: int | Sequence[int] | Tensor | None = None,
        condition: Tensor | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        chunk: int | None = None,
    ) -> Inverted:
        """The noise of data with the error of the round trip; `sample(x0=found.x0, label=…)` takes it, or edits by it.

        Raises:
            ValueError, TypeError: as `draw`, whose arguments these are; without the labels or conditions of the data
                where the run has these; without a solver (dopri5, heun, euler) where it was trained forward only.
        """
        told = (not self.classes or label is not None) and (self.condition is None or condition is not None)
        check_way_back(self.folder.path, solver or self.two_sided, told)
        way = Way(solver, steps, grid, tolerance)
        conditioning = self.conditioning(count_of(None, x1, "x1"), label, guidance, interval, condition=condition)
        states = fitting(x1, self.event, "x1").to(self.device)
        return round_trip(conditioning, states, way, self.interpolant, chunk=chunk)

    @cached_property
    def two_sided(self: Any) -> bool:
        """Whether the map was trained at times s > t too, and so to be its own way back; see `methods.goes_back`."""
        return goes_back(method_of(self.config), interpolant_of(self.config))


def count_of(n: int | None, x: Tensor, name: str = "x0") -> int:
    """The number of states that are given, which `n` must be where it is given too."""
    check_state(x, name)
    if n not in (None, len(x)) or not len(x):
        raise ValueError(f"`{name}` must hold {n or 'at least one'} states, got {len(x)}; leave `n` out.")
    return len(x)


def fitting(x: Tensor, event: torch.Size, name: str = "x0") -> Tensor:
    """States of the shape of a run's."""
    if x.shape[1:] != event:
        raise ValueError(f"`{name}` must hold states of shape {list(event)}, got {list(x.shape[1:])}; reshape it.")
    return x


def check_way_back(run: Path, way: object, told: bool) -> None:
    """Refuse to go back along a map that was never trained to, and to guess the classes of data.

    Args:
        run: the folder of the run.
        way: a solver, or whether the map was trained backward.
        told: whether the classes or conditions of the data are known, or not asked for.

    Raises:
        ValueError: in these cases.
    """
    if not told:
        raise ValueError(
            "`label`, or `condition`, must say which one each of `x1` has, got None for a run with labels or "
            "conditions; pass it."
        )
    if not way:
        raise ValueError(
            f"`solver` must be given for {run}, whose map never saw a start s after its end t; pass solver=dopri5 for "
            f"its own field, or train with the option law=FullSquare()."
        )

r"""What a law of times is: an object that draws `n` times, or `n` pairs of times $(s,t)$, in the clock of flowops.

The base (noise) is at time 0 and the data at time 1. A law is a frozen dataclass whose repr reads as the call that made
it. It draws by `draw(request)`; the call checks its arguments once and packs them into the `Request`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from flowops._types import Times
from flowops.interpolants import Interpolant

Drawn = TypeVar("Drawn", covariant=True)


class Pair(NamedTuple):
    """Start times `s` and end times `t`, each `[n]`."""

    s: Times
    t: Times


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of one draw.

    Attributes:
        n: number of draws.
        interpolant: what turns noise levels into times, or None.
        step: training step, which drives curricula; None means their end.
        generator: source of randomness.
        dtype: of the times.
        device: of the times.
    """

    n: int
    interpolant: Interpolant | None
    step: int | None
    generator: torch.Generator | None
    dtype: torch.dtype
    device: torch.device

    def uniform(self) -> Times:
        """Uniform draws on [0, 1)."""
        return torch.rand(self.n, generator=self.generator, dtype=self.dtype, device=self.device)

    def normal(self) -> Times:
        """Standard normal draws."""
        return torch.randn(self.n, generator=self.generator, dtype=self.dtype, device=self.device)

    def index(self, count: int) -> Tensor:
        """Uniform draws from 0, ..., count - 1."""
        return torch.randint(count, (self.n,), generator=self.generator, device=self.device)

    def permutation(self) -> Tensor:
        """A uniform permutation of the rows."""
        return torch.randperm(self.n, generator=self.generator, device=self.device)

    def schedule(self, law: object) -> Interpolant:
        """The interpolant, for a law that is stated in noise levels."""
        if self.interpolant is None:
            raise ValueError(
                f"`interpolant` must be given to {type(law).__name__}, which is stated in noise levels alpha/beta, got "
                f"None; pass interpolant=I."
            )
        return self.interpolant


class Law(ABC, Generic[Drawn]):
    """A law of times, or of pairs of times; see `OneTime` and `TimeLaw`."""

    def __call__(
        self,
        n: int,
        *,
        interpolant: Interpolant | None = None,
        step: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Drawn:
        """`n` draws.

        Args:
            n: number of draws, at least 1.
            interpolant: needed by the laws that are stated in noise levels, ignored by the others.
            step: training step, at least 0, which drives curricula and annealing; None means their end.
            generator: source of randomness, on `device`.
            dtype: torch.float32 or torch.float64.

        Raises:
            TypeError, ValueError: for other arguments, and for a law in noise levels without an interpolant.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"`n` must be a positive number of draws, got {n!r}; pass n=1 or more.")
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"`dtype` must be torch.float32 or torch.float64, got {dtype}; times need their digits.")
        if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
            raise ValueError(
                f"`step` must be a training step, 0 or more, or None for the end of every curriculum, got {step!r}."
            )
        if interpolant is not None and not isinstance(interpolant, Interpolant):
            raise TypeError(f"`interpolant` must be an Interpolant, got {type(interpolant).__name__}; build one first.")
        return self.draw(Request(n, interpolant, step, generator, dtype, torch.device(device)))

    @abstractmethod
    def draw(self, request: Request) -> Drawn:
        """The draws that `request` asks for."""


class OneTime(Law[Tensor]):
    """A law of a single time; a call returns times `[n]`."""


class TimeLaw(Law[Pair]):
    """A law of pairs of times $(s,t)$; a call returns a `Pair`."""


def check_law(law: object, kind: type[OneTime] | type[TimeLaw]) -> None:
    """Refuse a law of the other kind, and anything that is none."""
    if not isinstance(law, kind):
        wanted = (
            "a law of one time, such as Uniform()" if kind is OneTime else "a law of pairs, such as UpperTriangle()"
        )
        raise TypeError(f"`law` must be {wanted}, got {law!r}.")


def check_whole(value: object, name: str, least: int) -> None:
    """Refuse anything but a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")

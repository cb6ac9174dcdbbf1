"""The samplers of a run side by side: along its map, and along its own field, from the same base samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowops.sampling import CountedMap, gamma_sample, restart_sample, sample, solve

if TYPE_CHECKING:
    from flowops.training.conditioning import Conditioning
    from flowops.training.run import Run


@dataclass(frozen=True)
class Drawn:
    """Samples and what they cost.

    Attributes:
        sampler: what made them, in words.
        x: `[n, *event]`, on the CPU.
        calls: evaluations of the network per sample.
        seconds: of wall time for all of them.
    """

    sampler: str
    x: Tensor
    calls: float
    seconds: float

    @property
    def label(self) -> str:
        """The sampler with its calls."""
        return f"{self.sampler}, {self.calls:.4g} {'call' if self.calls == 1 else 'calls'}"


@dataclass(frozen=True)
class Noising:
    """What a sampler along the map does besides stepping.

    Attributes:
        gamma: how much noise `gamma_sample` puts back at each time; None for none.
        restart: times u < v of the grid and how often `restart_sample` goes from v back to u; None for none.
    """

    gamma: float | None = None
    restart: tuple[float, float, int] | None = None


@dataclass(frozen=True)
class Samplers:
    """Samples of a run for one set of base samples, labels and guidance, `chunk` of them at once.

    Attributes:
        run: the run.
        n: how many samples.
        seed: of the base samples, and of noise on the way.
        label: a class; None for all in turn.
        guidance: scale of classifier-free guidance, None for none.
        chunk: samples computed together.

    Raises:
        ValueError: for no samples, a class that does not exist, and guidance without labels.
    """

    run: Run
    n: int
    seed: int = 0
    label: int | None = None
    guidance: float | None = None
    chunk: int = 1024

    def __post_init__(self) -> None:
        for name in ("n", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be a positive number of samples, got {getattr(self, name)}; pass 64.")
        self.conditioning(0, 1)

    @cached_property
    def x0(self) -> Tensor:
        """The base samples, on the device of the run."""
        return self.run.base(self.n, seed=self.seed)

    def conditioning(self, first: int, last: int) -> Conditioning:
        """Labels and guidance of some of the samples."""
        labels: int | list[int] | None = self.label
        if self.run.classes and self.label is None:
            labels = [k % len(self.run.classes) for k in range(first, last)]
        return self.run.conditioning(last - first, labels, self.guidance)

    def along_map(self, grid: Sequence[float], noising: Noising | None = None) -> Drawn:
        """Samples by the map, a step for each interval of the grid."""
        interpolant, noising = self.run.interpolant, noising or Noising()
        if noising.gamma is not None and noising.restart is not None:
            raise ValueError("`gamma` and `restart` must not be given together; drop one of them.")

        def draw(condition: Conditioning, x0: Tensor, first: int) -> tuple[Tensor, float]:
            X = CountedMap(condition.map())
            if noising.gamma is not None:
                x = gamma_sample(X, interpolant, x0, grid, noising.gamma, seed=self.seed, start=first)
            elif noising.restart is not None:
                u, v, times = noising.restart
                x = restart_sample(X, interpolant, x0, grid, (u, v), int(times), seed=self.seed, start=first)
            else:
                x = sample(X, x0, grid)
            return x, X.count.evaluations / len(x0)

        steps = len(grid) - 1
        return self._drawn(f"map, {steps} step{'s' * (steps > 1)}", draw)

    def along_field(self, method: str, grid: Sequence[float] | None = None) -> Drawn:
        """Samples by a solver along the diagonal field of the map: dopri5 without a grid, any other with one."""
        schedule = self.run.interpolant if method in ("ddim", "dpm-solver") else None
        chosen = None if method == "dopri5" else grid

        def draw(condition: Conditioning, x0: Tensor, _: int) -> tuple[Tensor, float]:
            solved = solve(condition.field(), x0, method, grid=chosen, interpolant=schedule)
            return solved.x, solved.calls

        steps = f", {len(chosen) - 1} steps" if chosen is not None else ""
        return self._drawn(f"{method}{steps}", draw)

    def _drawn(self, name: str, draw: Callable[[Conditioning, Tensor, int], tuple[Tensor, float]]) -> Drawn:
        x0, parts, calls = self.x0, [], 0.0
        begun = time.perf_counter()
        for first, last in self._chunks():
            x, each = draw(self.conditioning(first, last), x0[first:last], first)
            parts.append(x.cpu())  # waits for the device, so that the time is that of the samples
            calls += each * (last - first) / self.n
        return Drawn(name, torch.cat(parts), round(calls, 6), time.perf_counter() - begun)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        for first in range(0, self.n, self.chunk):
            yield first, min(first + self.chunk, self.n)

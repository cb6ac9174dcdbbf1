r"""How samples are drawn: their labels and guidance, the way along a map or its field, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flowops._operator import condition_of
from flowops.fields import VelocityField, guided
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, GuidedMap, IntervalMap
from flowops.sampling import grids
from flowops.sampling.adaptive import adaptive_sample, check_tolerance
from flowops.sampling.baselines import solve, times_of
from flowops.sampling.calibration import Plan
from flowops.sampling.cost import CountedMap, per_sample
from flowops.sampling.sampler import gamma_sample, restart_sample


@dataclass(frozen=True)
class Conditioning:
    r"""The map and the field of a network for given labels and a scale $w$ of classifier-free guidance.

    A network that was trained with a range of scales takes $w$ as an input: its map is the guided flow map. Of any
    other the field is $b_t(x;\varnothing)+w\,(b_t(x;c)-b_t(x;\varnothing))$, exactly, and the map
    $X_{s,t}(x;\varnothing)+w\,(X_{s,t}(x;c)-X_{s,t}(x;\varnothing))$, which has this field on its diagonal but is not
    the flow of it. In an interval of times a network that was trained with intervals takes it as an input too; of any
    other the map is an `IntervalMap` of both, at three times the calls.

    Attributes:
        X: the map.
        labels: classes, or conditions with values of any shape, one per sample, or None.
        guidance: $w$, or None for no guidance.
        null: the label that stands for none.
        interval: the times at which the scale is $w$, at the others it is 1; None for all times.

    Raises:
        ValueError: for an interval without guidance, or one that does not increase.
    """

    X: FlowMap
    labels: Tensor | None = None
    guidance: float | None = None
    null: float = 0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.interval is not None and self.guidance is None:
            raise ValueError(f"`interval` must be None without guidance, got {self.interval}; pass guidance=2.0, say.")
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError(f"`interval` must be two increasing times, got {self.interval}; pass (0.3, 0.8), say.")

    def subset(self, rows: Tensor) -> Conditioning:
        """Some of the samples."""
        return replace(self, labels=None if self.labels is None else self.labels[rows])

    @property
    def learned(self) -> bool:
        """Whether the scale is an input of the network."""
        return self.X.takes("guidance")

    def map(self) -> FlowMap:
        """The flow map that carries these samples."""
        if self.labels is None:
            return self.X
        X = self._given(self.labels)
        if self.guidance is None:
            return X
        if self.X.takes("interval"):  # which at scale 1 has learned one interval, that of all times
            interval = self.interval if self.interval is not None and self.guidance != 1 else (0.0, 1.0)
            return X.given(guidance=self._filled(self.guidance), interval=self._filled(*interval))
        guided: FlowMap
        if self.learned:
            guided, X = (X.given(guidance=self._filled(scale)) for scale in (self.guidance, 1.0))
        else:
            guided = GuidedMap(X, self._given(torch.full_like(self.labels, self.null)), self.guidance)
        return guided if self.interval is None else IntervalMap(guided, X, self.interval)

    def field(self) -> VelocityField:
        """The field whose solutions carry these samples."""
        if self.labels is None or self.guidance is None or self.learned:
            return self.map().velocity()
        b, null = self.X.velocity(), torch.full_like(self.labels, self.null)
        name = condition_of(self.X, self.labels)
        return guided(b.given(**{name: self.labels}), b.given(**{name: null}), self.guidance, self.interval)

    def _given(self, labels: Tensor) -> FlowMap:
        return self.X.given(**{condition_of(self.X, labels): labels})

    def _filled(self, *values: float) -> Tensor | tuple[float, ...]:
        """The values for every sample, `[n]` of one and `[n, k]` of several, where the labels are.

        Beside one label for samples of any number, several are a tuple.
        """
        assert self.labels is not None
        if not self.labels.ndim and len(values) > 1:
            return values
        like = self.labels.new_empty(self.labels.shape[:1])
        columns = [torch.full_like(like, value, dtype=torch.float32) for value in values]
        return columns[0] if len(columns) == 1 else torch.stack(columns, 1)


def labels_of(
    n: int,
    classes: Sequence[str],
    label: int | Sequence[int] | Tensor | None,
    guidance: float | None,
    *,
    start: int = 0,
) -> Tensor | None:
    """The labels of `n` samples, `[n]` on the CPU: one class, one per sample, all in turn; None where there are none.

    In turn, sample number $i$ has the class $i$ modulo their number, and the first is number `start`.

    Raises:
        ValueError: for a class out of range, the wrong number of them, and labels or guidance of a map that has none.
    """
    if not classes:
        if label is not None or guidance is not None:
            name = "label" if label is not None else "guidance"
            raise ValueError(f"`{name}` must not be given for a map that was trained without labels; drop it.")
        return None
    given = _listed(label, len(classes))
    for value in given:
        if not 0 <= value < len(classes):
            raise ValueError(
                f"`label` must be a class between 0 and {len(classes) - 1} ({', '.join(classes[:10])}"
                f"{', ...' if len(classes) > 10 else ''}), got {value}; pass one of them."
            )
    if label is not None and len(given) not in (1, n):
        raise ValueError(f"`label` must be one class or {n} of them, one per sample, got {len(given)}.")
    first = start if label is None else 0
    return torch.tensor(given)[torch.arange(first, first + n) % len(given)]


def conditions_of(n: int, shape: torch.Size | None, condition: Tensor | None, label: object) -> Tensor | None:
    """The conditions of `n` samples, `[n, *shape]` on the CPU; None where none is given.

    Raises:
        ValueError, TypeError: for another shape or dtype, a label, and a condition of a map that takes none.
    """
    if shape is None:
        raise ValueError("`condition` must not be given for a map that was trained without conditions; drop it.")
    if label is not None:
        raise ValueError("`label` must not be given for a map that takes a `condition`; pass condition=TENSOR.")
    if condition is None:
        return None
    if not isinstance(condition, Tensor) or condition.dtype != torch.float32:
        given = condition.dtype if isinstance(condition, Tensor) else type(condition).__name__
        raise TypeError(f"`condition` must be a float32 tensor, got {given}; convert it.")
    if condition.shape not in (shape, (n, *shape)):
        raise ValueError(
            f"`condition` must have shape {list(shape)}, or one per sample, {[n, *shape]}, got "
            f"{list(condition.shape)}; reshape it."
        )
    if not bool(condition.isfinite().all()):
        raise ValueError("`condition` must be finite, got nan or inf; look for where it was made.")
    return condition.cpu().expand(n, *shape)


def _listed(label: int | Sequence[int] | Tensor | None, classes: int) -> list[int]:
    """The classes that were given, one after the other; all of them for None."""
    if label is None:
        return list(range(classes))
    if isinstance(label, Tensor) and not label.is_floating_point():
        label = label.tolist()
    given: Any = [label] if isinstance(label, int) else label
    if not isinstance(given, Sequence) or not all(isinstance(value, int) for value in given):
        raise TypeError(f"`label` must be a class or one per sample, whole numbers, got {label!r}; convert it.")
    return list(given)


@dataclass(frozen=True)
class Drawn:
    """Samples and what they cost.

    Attributes:
        sampler: what made them, in words.
        x: `[n, *event]`, on the device of the run.
        calls: evaluations of the network per sample, on average where samples differ.
        seconds: wall time for all of them, without that of their noise.
    """

    sampler: str
    x: Tensor
    calls: float
    seconds: float

    @property
    def label(self) -> str:
        """The sampler with its calls."""
        return f"{self.sampler}, {self.calls:.4g} {'call' if self.calls == 1 else 'calls'}"


Draw = Callable[[Conditioning, Tensor, int], tuple[Tensor, float]]
"""Of the conditions of a chunk, its states at time 0 and the number of its first sample: samples, calls per sample."""


@dataclass(frozen=True)
class Way:
    """The way from base samples to samples; see `Run.draw` for what each setting means."""

    solver: str | None = None
    steps: int | None = None
    grid: Sequence[float] | None = None
    tolerance: float | None = None
    gamma: float | None = None
    restart: tuple[float, float, int] | None = None
    seed: int = 0
    plan: Plan | None = None

    def sampler(self, interpolant: Interpolant) -> tuple[str, Draw]:
        """The sampler in words, and as a function of a chunk.

        Raises:
            ValueError, TypeError: for settings that do not exist or exclude each other.
        """
        return self._along_map(interpolant) if self.solver is None else self._along_field(self.solver, interpolant)

    def _along_map(self, interpolant: Interpolant) -> tuple[str, Draw]:
        if self.gamma is not None and self.restart is not None:
            raise ValueError("`gamma` and `restart` must not be given together; drop one of them.")
        if self.steps is not None and self.grid is not None:
            raise ValueError("`steps` and `grid` must not be given together; drop one of them.")
        if self.plan is not None:
            return self._planned(self.plan)
        if self.tolerance is not None:
            return self._to_tolerance(check_tolerance(self.tolerance))
        if self.restart is not None and len(self.restart) != 3:
            raise ValueError(f"`restart` must be times u < v and how often, got {self.restart}; pass (0.2, 0.7, 2).")
        times = self.times()

        def draw(conditioning: Conditioning, x0: Tensor, first: int) -> tuple[Tensor, float]:
            X = CountedMap(conditioning.map())
            if self.gamma is not None:
                x = gamma_sample(X, interpolant, x0, times, self.gamma, seed=self.seed, start=first, chunk=len(x0))
            elif self.restart is not None:
                u, v, count = self.restart
                x = restart_sample(
                    X, interpolant, x0, times, (u, v), int(count), seed=self.seed, start=first, chunk=len(x0)
                )
            else:
                x = X.compose(times, x0)
            return x, per_sample(X.count, x0)

        return f"map, {_steps(times)}", draw

    def times(self) -> list[float]:
        """The times of the steps along the map; one step if nothing is given."""
        return (
            grids.uniform(1 if self.steps is None else self.steps) if self.grid is None else grids.check_grid(self.grid)
        )

    def _to_tolerance(self, tolerance: float) -> tuple[str, Draw]:
        for name in ("steps", "grid", "gamma", "restart"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`tolerance` and `{name}` must not be given together, since a tolerance chooses the steps; drop "
                    f"one of them."
                )

        def draw(conditioning: Conditioning, x0: Tensor, _: int) -> tuple[Tensor, float]:
            found = adaptive_sample(conditioning.map(), x0, tolerance, chunk=len(x0))
            return found.x, float(found.calls.double().mean())

        return f"map, tolerance {tolerance:g}", draw

    def _planned(self, plan: Plan) -> tuple[str, Draw]:
        if not isinstance(plan, Plan):
            raise TypeError(f"`plan` must be a Plan, got {type(plan).__name__}; pass calibration.plan(0.03).")
        for name in ("steps", "grid", "tolerance", "gamma", "restart"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`plan` and `{name}` must not be given together, since a plan says all steps; drop one of them."
                )

        def draw(conditioning: Conditioning, x0: Tensor, _: int) -> tuple[Tensor, float]:
            x, calls = plan.sample(conditioning.map(), x0, chunk=len(x0))
            return x, float(calls.double().mean())

        return f"map, {plan}", draw

    def _along_field(self, solver: str, interpolant: Interpolant) -> tuple[str, Draw]:
        for name in ("gamma", "restart", "plan"):
            if getattr(self, name) is not None:
                raise ValueError(f"`{name}` must not be given to a solver, got it for {solver}; drop one of the two.")
        schedule = interpolant if solver in ("ddim", "dpm-solver") else None
        times = times_of(solver, self.steps, self.grid, self.tolerance, schedule)

        def draw(conditioning: Conditioning, x0: Tensor, _: int) -> tuple[Tensor, float]:
            found = solve(
                conditioning.field(), x0, solver, grid=times or None, tolerance=self.tolerance, interpolant=schedule,
                chunk=len(x0),
            )  # fmt: skip
            return found.x, found.calls

        return solver + (f", {_steps(times)}" if times else ""), draw


def _steps(times: Sequence[float]) -> str:
    return f"{len(times) - 1} step{'s' * (len(times) > 2)}"


def now(device: torch.device) -> float:
    """The time in seconds, when everything that was launched on the device is done."""
    if device.type != "cpu" and torch.accelerator.is_available():
        torch.accelerator.synchronize(device)
    return time.perf_counter()

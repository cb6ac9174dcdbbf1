"""A run: its settings, its map, its data, and samples of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from flowops._arguments import check_state, whole
from flowops.data import Dataset
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, LearnedMap
from flowops.runs.assembly import dataset_of, interpolant_of, map_of, method_of, network_of
from flowops.runs.checkpoint import CheckpointError, load_weights
from flowops.runs.folder import RunFolder, load_config
from flowops.runs.settings import TrainConfig
from flowops.runs.teacher import teacher_of
from flowops.sampling import (
    Conditioning,
    CountedMap,
    gamma_sample,
    grids,
    labels_of,
    noise,
    restart_sample,
    solve,
)

GIVEN = "given"  # in the settings of a run, for an object that was passed to `train` and has no name


@dataclass(frozen=True)
class Drawn:
    """Samples and what they cost.

    Attributes:
        sampler: what made them, in words.
        x: `[n, *event]`, on the device of the run.
        calls: evaluations of the network per sample, on average where samples differ.
        seconds: wall time for all of them.
    """

    sampler: str
    x: Tensor
    calls: float
    seconds: float

    @property
    def label(self) -> str:
        """The sampler with its calls."""
        return f"{self.sampler}, {self.calls:.4g} {'call' if self.calls == 1 else 'calls'}"


@dataclass(frozen=True, repr=False)
class Run:
    """A trained flow map with everything needed to sample it; `Run.load` reads it, `train` returns it.

    Attributes:
        folder: where it lies.
        config: its settings, complete.
        step: number of steps behind these weights.
        event: shape of a sample.
        classes: names of the classes, empty if the map knows none.
        paired: whether the data come with base samples of their own, which are not standard normal.
        X: the map with averaged weights, which are constants.
        interpolant: its schedule.
        device: where it computes.
        given: the data set, if it is not to be opened by its name.

    >>> from flowops import Run
    >>> run = Run.load("runs/digits")  # doctest: +SKIP
    >>> run.sample(64, steps=2, label=7).shape  # doctest: +SKIP
    torch.Size([64, 1, 8, 8])
    """

    folder: RunFolder
    config: TrainConfig
    step: int
    event: torch.Size
    classes: tuple[str, ...]
    paired: bool
    X: LearnedMap
    interpolant: Interpolant
    device: torch.device
    given: Dataset | None = field(default=None, compare=False)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        step: int | None = None,
        average: str | None = None,
        device: torch.device | str = "cpu",
        dataset: Dataset | None = None,
        network: nn.Module | None = None,
        teacher: VelocityField | FlowMap | None = None,
    ) -> Run:
        """The run in a folder.

        Args:
            path: the folder.
            step: which checkpoint; None for the newest that is whole.
            average: name of the average of the weights, "none" for the weights themselves; None for the first average.
            device: where the map goes.
            dataset: the data, where an object was passed to `train`.
            network: likewise a network; its weights are replaced.
            teacher: likewise a teacher, which only a second-order parameterization needs again.

        Raises:
            FileNotFoundError: if there is no run, or no such checkpoint.
            CheckpointError: if the weights are damaged, or there is no such average.
            ValueError: if an object is missing that was passed to `train`.
        """
        folder = RunFolder(Path(path))
        if not folder.config.is_file() or not folder.facts.is_file():
            raise FileNotFoundError(f"`{path}` must be the folder of a run, and it has no config.yaml; check the path.")
        config = load_config(folder.config)
        event, classes, paired, guided = _facts(folder.facts)
        names = average_names(config)
        chosen = None if average == "none" else average or names[0]
        if chosen is not None and chosen not in names:
            raise CheckpointError(f"`average` must be one of {', '.join(names)} or none in {path}, got {chosen!r}.")
        step, weights = load_weights(folder.checkpoints, step, chosen)
        interpolant = interpolant_of(config)
        if network is None:
            if config.network.kind == GIVEN:
                raise ValueError(f"`network` must be given to load {path}, which was trained with an object; pass it.")
            source = torch.Generator()  # the weights are replaced
            network = network_of(config, event, len(classes) or None, guidance=guided, source=source)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"The weights in {folder.checkpoints / str(step)} must be those of the network of config.yaml, and are "
                f"of another one; restore that file."
            ) from error
        if teacher is None and config.network.parameterization == "second-order":
            if config.teacher == GIVEN:
                raise ValueError(
                    f"`teacher` must be given to load {path}, which is made of an object's field; pass it."
                )
            wanted = method_of(config).row.teacher
            teacher = teacher_of(config, wanted, interpolant, event, torch.device(device), load=cls.load)
        X = map_of(config, network, interpolant, teacher).to(device).eval().requires_grad_(False)
        return cls(
            folder, config, step, event, classes, paired, X, interpolant.to(device), torch.device(device), dataset
        )

    @cached_property
    def dataset(self) -> Dataset:
        """The data it was trained on.

        Raises:
            ValueError: if it was trained on an object that `load` was not given.
        """
        if self.given is not None:
            return self.given
        if self.config.dataset == GIVEN:
            raise ValueError(f"`dataset` must be given to load {self.folder.path}, which was trained on an object.")
        return dataset_of(self.config)

    def base(self, n: int, *, seed: int = 0) -> Tensor:
        r"""The first `n` states at time 0 of a seed, $\alpha_0x_0$; sample i is the same whatever `n`."""
        first = self.dataset.reference(n, seed=seed).x0 if self.paired else None
        x0 = (noise(n, self.event, seed=seed) if first is None else first).to(self.device)
        scale = float(self.interpolant.alpha(0.0))
        return x0 if scale == 1 else scale * x0

    def conditioning(
        self, n: int, label: int | Sequence[int] | None = None, guidance: float | None = None
    ) -> Conditioning:
        """The labels and the guidance of `n` samples, checked; without a label all classes in turn."""
        labels = labels_of(n, self.classes, label, guidance)
        return Conditioning(self.X, None if labels is None else labels.to(self.device), guidance, len(self.classes))

    def sample(
        self,
        n: int = 64,
        *,
        steps: int = 1,
        grid: Sequence[float] | None = None,
        seed: int = 0,
        label: int | Sequence[int] | None = None,
        guidance: float | None = None,
        x0: Tensor | None = None,
        chunk: int = 1024,
    ) -> Tensor:
        """`n` samples of the map, `[n, *event]`; the same seed gives the same samples by any number of steps.

        Args:
            n: how many.
            steps: equal steps from 0 to 1, the number of network calls.
            grid: times from 0 to 1, in place of equal steps.
            seed: seed of the base samples.
            label: a class or one per sample; None for all classes in turn.
            guidance: scale of classifier-free guidance; see `Conditioning`.
            x0: states at time 0 to start from, `[n, *event]`, in place of those of the seed.
            chunk: samples computed at once.

        Raises:
            ValueError: for a class that does not exist, labels of a run without, and numbers that are not positive.
        """
        return self.draw(n, steps=steps, grid=grid, seed=seed, label=label, guidance=guidance, x0=x0, chunk=chunk).x

    def solve(
        self,
        n: int = 64,
        *,
        method: str = "dopri5",
        steps: int | None = None,
        grid: Sequence[float] | None = None,
        tolerance: float | None = None,
        seed: int = 0,
        label: int | Sequence[int] | None = None,
        guidance: float | None = None,
        x0: Tensor | None = None,
        chunk: int = 1024,
    ) -> Drawn:
        """`n` samples of the map's own diagonal field by a solver, with the number of network calls.

        Args:
            n: how many; further arguments as in `sample`.
            method: dopri5, or heun, euler, ddim and dpm-solver, which want `steps` or a `grid`.
            tolerance: tolerance of dopri5.
        """
        return self.draw(
            n, solver=method, steps=steps, grid=grid, tolerance=tolerance, seed=seed, label=label, guidance=guidance,
            x0=x0, chunk=chunk,
        )  # fmt: skip

    @torch.no_grad()
    def draw(
        self,
        n: int = 64,
        *,
        solver: str | None = None,
        steps: int | None = None,
        grid: Sequence[float] | None = None,
        tolerance: float | None = None,
        gamma: float | None = None,
        restart: tuple[float, float, int] | None = None,
        seed: int = 0,
        label: int | Sequence[int] | None = None,
        guidance: float | None = None,
        x0: Tensor | None = None,
        chunk: int = 1024,
    ) -> Drawn:
        """`n` samples with what they cost: along the map, or along its own field by a solver; as `sample` and `solve`.

        Args:
            n: how many.
            solver: None for the map, or a solver of its field as in `solve`.
            steps: equal steps from 0 to 1; one if neither steps nor a grid are given to the map.
            grid: times from 0 to 1, in place of equal steps.
            tolerance: tolerance of dopri5.
            gamma: noise that `gamma_sample` puts back after each step of the map; None for none.
            restart: times u < v of the grid, and how often `restart_sample` goes from v back to u; None for none.
            seed: seed of the base samples, and of noise on the way.
            label: a class or one per sample; None for all classes in turn.
            guidance: scale of classifier-free guidance.
            x0: states at time 0 in place of those of the seed.
            chunk: samples computed at once.

        Raises:
            ValueError, TypeError: for numbers, classes and options that do not exist or exclude each other.
        """
        n, chunk = (whole(n, "n") if x0 is None else len(x0)), whole(chunk, "chunk")
        start = self.base(n, seed=seed) if x0 is None else self._checked(x0)
        conditioning = self.conditioning(n, label, guidance)
        if solver is None:
            name, draw = self._along_map(steps, grid, gamma, restart, seed)
        else:
            name, draw = self._along_field(solver, steps, grid, tolerance)
        parts, calls, begun = [], 0.0, time.perf_counter()
        for rows in torch.arange(n, device=self.device).split(chunk):
            x, each = draw(conditioning.subset(rows), start[rows], int(rows[0]))
            parts.append(x)
            calls += each * len(rows) / n
        drawn = torch.cat(parts)
        if drawn.is_cuda:
            torch.cuda.synchronize(drawn.device)  # so that the time is that of the samples
        return Drawn(name, drawn, round(calls, 6), time.perf_counter() - begun)

    def _along_map(
        self,
        steps: int | None,
        grid: Sequence[float] | None,
        gamma: float | None,
        restart: tuple[float, float, int] | None,
        seed: int,
    ) -> tuple[str, Callable[[Conditioning, Tensor, int], tuple[Tensor, float]]]:
        """The sampler along the map in words, and as a function of a chunk and the number of its first sample."""
        if gamma is not None and restart is not None:
            raise ValueError("`gamma` and `restart` must not be given together; drop one of them.")
        times = grids.uniform(1 if steps is None else steps) if grid is None else grids.check_grid(grid)

        def draw(conditioning: Conditioning, x0: Tensor, first: int) -> tuple[Tensor, float]:
            X = CountedMap(conditioning.map())
            if gamma is not None:
                x = gamma_sample(X, self.interpolant, x0, times, gamma, seed=seed, start=first, chunk=len(x0))
            elif restart is not None:
                u, v, count = restart
                x = restart_sample(
                    X, self.interpolant, x0, times, (u, v), int(count), seed=seed, start=first, chunk=len(x0)
                )
            else:
                x = X.compose(times, x0)
            return x, X.count.evaluations / len(x0)

        return f"map, {len(times) - 1} step{'s' * (len(times) > 2)}", draw

    def _along_field(
        self, solver: str, steps: int | None, grid: Sequence[float] | None, tolerance: float | None
    ) -> tuple[str, Callable[[Conditioning, Tensor, int], tuple[Tensor, float]]]:
        """The sampler along the map's own field, likewise."""
        schedule = self.interpolant if solver in ("ddim", "dpm-solver") else None
        count = steps if grid is None else len(grid) - 1

        def draw(conditioning: Conditioning, x0: Tensor, _: int) -> tuple[Tensor, float]:
            found = solve(
                conditioning.field(), x0, solver, steps=steps, grid=grid, tolerance=tolerance, interpolant=schedule
            )
            return found.x, found.calls

        return solver + (f", {count} steps" if count is not None else ""), draw

    def _checked(self, x0: Tensor) -> Tensor:
        check_state(x0, "x0")
        if x0.shape[1:] != self.event:
            raise ValueError(
                f"`x0` must hold states of shape {list(self.event)}, got {list(x0.shape[1:])}; reshape it."
            )
        return x0.to(self.device)

    def __repr__(self) -> str:
        """One line: where it is, on what and by what it was trained, how far."""
        return (
            f"Run({self.folder.path}: {self.config.method} on {self.config.dataset}, step {self.step}, {self.device})"
        )


def average_names(config: TrainConfig) -> list[str]:
    """The names of the averages of a run, the one that samples come from first."""
    return [f"{decay:g}" for decay in config.averages or ()] + [f"power-{width:g}" for width in config.power]


def _facts(path: Path) -> tuple[torch.Size, tuple[str, ...], bool, bool]:
    """What `run.json` says: shape of a sample, names of the classes, whether in pairs, whether a scale is an input."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        classes = tuple(map(str, facts["classes"]))
        return torch.Size(facts["event"]), classes, bool(facts["paired"]), bool(facts["guided"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`{path}` must hold event, classes, paired and guided, and does not; use another run."
        ) from error

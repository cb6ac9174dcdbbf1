"""A run: its settings, its map, its data, and samples of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowops._arguments import whole
from flowops.data import Dataset, Units
from flowops.data.indexed import as_dataset
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, LearnedMap
from flowops.methods.point import null_label_of
from flowops.runs.assembly import dataset_of, interpolant_of, laid_out, map_of, method_of, network_of
from flowops.runs.checkpoint import CheckpointError, load_weights
from flowops.runs.computing import ComputedMap, Precision
from flowops.runs.facts import read_facts
from flowops.runs.fitting import fill, misfit
from flowops.runs.folder import RunFolder, average_names
from flowops.runs.progress import tell
from flowops.runs.settings import TrainConfig
from flowops.runs.shared import Shared
from flowops.runs.teacher import teacher_of
from flowops.runs.way_back import TwoSided, count_of, fitting
from flowops.sampling import (
    Conditioning,
    Drawn,
    Plan,
    Way,
    blocks,
    chunk_size,
    conditions_of,
    labels_of,
    noise,
)
from flowops.sampling.drawing import now


@dataclass(frozen=True, repr=False)
class Run(TwoSided, Shared):
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
        precision: in which its network computes when it is sampled, 32 or bf16; see `on`.
        compiled: whether its network is compiled for that.
        units: how the data became the states that it samples; see `restored`.
        condition: shape of the conditions with continuous values that the map takes, or None.

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
    precision: Precision = "32"
    compiled: bool = False
    units: Units = Units()
    condition: torch.Size | None = None

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        step: int | None = None,
        average: str | None = None,
        best: bool = False,
        device: torch.device | str = "cpu",
        dataset: Dataset | torch.utils.data.Dataset[Any] | None = None,
        network: nn.Module | None = None,
        teacher: VelocityField | FlowMap | None = None,
        report: Callable[[str], None] = tell,
    ) -> Run:
        """The run in a folder.

        Args:
            path: the folder.
            step: which checkpoint; None for the newest that is whole.
            average: name of the average of the weights, "none" for the weights themselves; None for the first average.
            best: in place of both, the average that evaluations while it trained found best; see `EvaluateConfig`.
            device: where the map goes.
            dataset: the data, where an object was passed to `train`.
            network: likewise a network; its weights are replaced.
            teacher: likewise a teacher, which only a second-order parameterization needs again.
            report: is told when an older checkpoint or another average is taken, and why; the standard error if left
                out.

        Raises:
            FileNotFoundError: if there is no run, or no such checkpoint.
            CheckpointError: if the weights are damaged or of another network, or there is no such average.
            ValueError: if an object is missing that was passed to `train`, or a file is not that of a run.
        """
        folder = RunFolder(Path(path))
        for file in (folder.config, folder.facts):
            if not file.is_file():
                raise FileNotFoundError(
                    f"`{path}` must be the folder of a run, and it has no {file.name}; check the path."
                )
        config, facts = folder.settings(report), read_facts(folder.facts)
        chosen = None if best or average == "none" else average or average_names(config)
        if best and (step, average) != (None, None):
            raise ValueError(
                f"`step` and `average` must be left out with best=True, got {step} and {average}; drop them."
            )
        place = folder.best if best else folder.checkpoints
        step, weights = load_weights(place, step, chosen, report=report)
        interpolant = interpolant_of(config)
        if made := network is None:
            source = torch.Generator()  # the weights are replaced
            network = network_of(
                config, facts.event, len(facts.classes) or None, facts.condition, source=source, **facts.wanted
            )
        if found := misfit(network, weights):
            whose, then = ("config.yaml", "restore that file") if made else ("the one given", "give that of the run")
            where = place / str(step)
            raise CheckpointError(
                f"The weights in {where} must be those of the network of {whose}, and {found}; {then}."
            )
        fill(network, weights)
        if teacher is None and config.network.parameterization == "second-order":
            wanted = method_of(config).row.teacher
            load = partial(cls.load, report=report)
            teacher = teacher_of(config, wanted, interpolant, facts.event, torch.device(device), load=load)
        X = map_of(config, network, interpolant, teacher).eval().requires_grad_(False)
        X = laid_out(X, config.hardware, facts.event, torch.device(device))
        return cls(
            folder, config, step, facts.event, facts.classes, facts.paired, X, interpolant.to(device),
            torch.device(device), None if dataset is None else as_dataset(dataset),
            units=facts.units, condition=facts.condition,
        )  # fmt: skip

    @cached_property
    def dataset(self) -> Dataset:
        """The data it was trained on.

        Raises:
            ValueError: if it was trained on an object that `load` was not given.
        """
        return dataset_of(self.config) if self.given is None else self.given

    @cached_property
    def computed(self) -> LearnedMap:
        """The map as it computes: `X`, or a map of the same parameters in another precision, or compiled."""
        if self.precision == "32" and not self.compiled:
            return self.X
        return ComputedMap(self.X, self.precision, self.compiled)

    def on(
        self,
        device: torch.device | str | None = None,
        *,
        precision: Precision | None = None,
        compile: bool | None = None,
    ) -> Run:
        """The same run on another device, in another precision, or compiled; None keeps what it is.

        Samples and scores then come from there; residuals are taken in float32 without compilation. A compiled network
        is one graph, made at the first chunk, and again at the first one of another size.

        Args:
            device: where it computes; this run stays where it is.
            precision: "bf16" computes the network in bfloat16, states and times stay in float32; "32" does not.
            compile: whether the network is compiled.

        Raises:
            ValueError: for another precision.
        """
        precision = self.precision if precision is None else precision
        if precision not in ("32", "bf16"):
            raise ValueError(f"`precision` must be 32 or bf16, got {precision!r}; pass one of them.")
        compiled, X, interpolant = self.compiled if compile is None else compile, self.X, self.interpolant
        there = self.device if device is None else torch.device(device)
        if there != self.device:
            X = laid_out(copy.deepcopy(X), self.config.hardware, self.event, there)
            interpolant = copy.deepcopy(interpolant).to(there)
        return replace(self, X=X, interpolant=interpolant, device=there, precision=precision, compiled=compiled)

    def base(self, n: int, *, seed: int = 0, start: int = 0) -> Tensor:
        r"""The states at time 0 of a seed from number `start` on, $\alpha_0x_0$; a number has always the same."""
        first = self.dataset.reference(start + n, seed=seed).x0 if self.paired else None
        x0 = (noise(n, self.event, seed=seed, start=start) if first is None else first[start:]).to(self.device)
        scale = float(self.interpolant.alpha(0.0))
        return x0 if scale == 1 else scale * x0

    def conditioning(
        self,
        n: int,
        label: int | Sequence[int] | Tensor | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        *,
        start: int = 0,
        condition: Tensor | None = None,
    ) -> Conditioning:
        """Labels or conditions and guidance of `n` samples from number `start` on; without them all classes in turn."""
        if self.condition is None and condition is None:
            labels = labels_of(n, self.classes, label, guidance, start=start)
        elif (labels := conditions_of(n, self.condition, condition, label)) is None:
            labels = self._known_conditions[torch.arange(start, start + n) % len(self._known_conditions)]
        null = 0 if labels is None or guidance is None else self._null_label()
        own = None if labels is None else labels.to(self.device)
        return Conditioning(self.computed, own, guidance, null, interval)

    @cached_property
    def _known_conditions(self) -> Tensor:
        """Conditions of the data."""
        return cast(Tensor, self.dataset.reference(min(self.dataset.size or 1024, 1024)).labels).cpu()

    def _null_label(self) -> float:
        """The label that stands for none: the option of the method, or that of the network."""
        if self.X.takes("guidance"):  # the scale is an input, and nothing is combined
            return 0
        try:
            return null_label_of(self.X, method_of(self.config).options.null_label)
        except ValueError:
            raise ValueError(
                f"`guidance` needs a label that stands for none, and the network of {self.folder.path} has no "
                f"`null_label`; train with one, or drop the option."
            ) from None

    def sample(
        self,
        n: int | None = None,
        *,
        steps: int | None = None,
        grid: Sequence[float] | None = None,
        tolerance: float | None = None,
        plan: Plan | None = None,
        seed: int = 0,
        label: int | Sequence[int] | Tensor | None = None,
        condition: Tensor | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        x0: Tensor | None = None,
        chunk: int | None = None,
        start: int = 0,
    ) -> Tensor:
        """`n` samples of the map, `[n, *event]`; the same seed gives the same samples by any number of steps.

        Args:
            n: how many; 64, or as many as `x0` holds.
            steps: equal steps from 0 to 1, the number of network calls; one if nothing else is given.
            grid: times from 0 to 1, in place of equal steps.
            tolerance: in place of both, as many steps as each sample needs; see `sampling.adaptive_sample`.
            plan: in place of all three, the steps that `calibrate` has measured to be enough.
            seed: seed of the base samples.
            label: a class or one per sample, numbers or a tensor; None for all classes in turn.
            condition: in place of a label, of a map that takes one: `[*condition]` for all samples or one per sample;
                None for those of the data in turn, of at most 1024 of its samples.
            guidance: scale of classifier-free guidance; see `Conditioning`.
            interval: times at which it guides; all times if left out.
            x0: states at time 0 to start from, `[n, *event]`, in place of those of the seed.
            chunk: samples computed at once; None for as many as `chunk_size` says. It changes nothing but rounding.
            start: number of the first sample; a sample depends on its number and the seed alone.

        Raises:
            ValueError: for a class that does not exist, labels of a run without, and numbers that are not positive.
        """
        return self.draw(
            n, steps=steps, grid=grid, tolerance=tolerance, plan=plan, seed=seed, label=label, condition=condition,
            guidance=guidance, interval=interval, x0=x0, chunk=chunk, start=start,
        ).x  # fmt: skip

    def solve(
        self,
        n: int | None = None,
        *,
        method: str = "dopri5",
        steps: int | None = None,
        grid: Sequence[float] | None = None,
        tolerance: float | None = None,
        seed: int = 0,
        label: int | Sequence[int] | Tensor | None = None,
        condition: Tensor | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        x0: Tensor | None = None,
        chunk: int | None = None,
        start: int = 0,
    ) -> Drawn:
        """`n` samples of the map's own diagonal field by a solver, with the number of network calls.

        Args:
            n: how many; further arguments as in `sample`.
            method: dopri5, or heun, euler, ddim and dpm-solver, which want `steps` or a `grid`.
            tolerance: tolerance of dopri5, to which its samples depend on the chunk.
        """
        return self.draw(
            n, solver=method, steps=steps, grid=grid, tolerance=tolerance, seed=seed, label=label, condition=condition,
            guidance=guidance, interval=interval, x0=x0, chunk=chunk, start=start,
        )  # fmt: skip

    @torch.no_grad()
    def draw(
        self,
        n: int | None = None,
        *,
        solver: str | None = None,
        steps: int | None = None,
        grid: Sequence[float] | None = None,
        tolerance: float | None = None,
        plan: Plan | None = None,
        gamma: float | None = None,
        restart: tuple[float, float, int] | None = None,
        seed: int = 0,
        label: int | Sequence[int] | Tensor | None = None,
        condition: Tensor | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        x0: Tensor | None = None,
        chunk: int | None = None,
        start: int = 0,
    ) -> Drawn:
        """`n` samples with what they cost: along the map, or along its own field by a solver; as `sample` and `solve`.

        Args:
            n: how many.
            solver: None for the map, or a solver of its field as in `solve`.
            steps: equal steps from 0 to 1; one if nothing else is given to the map.
            grid: times from 0 to 1, in place of equal steps.
            tolerance: tolerance of dopri5, or of the map without steps and grid, as in `sample`.
            plan: of the map, in place of all three, as in `sample`.
            gamma: noise that `gamma_sample` puts back after each step of the map; None for none.
            restart: times u < v of the grid, and how often `restart_sample` goes from v back to u; None for none.
            seed: seed of the base samples, and of noise on the way.
            label: a class or one per sample, numbers or a tensor; None for all classes in turn.
            condition: in place of a label, of a map that takes one: `[*condition]` for all samples or one per sample;
                None for those of the data in turn.
            guidance: scale of classifier-free guidance.
            interval: times at which it guides.
            x0: states at time 0 in place of those of the seed.
            chunk: samples computed at once, as in `sample` and `solve`.
            start: number of the first sample.

        Raises:
            ValueError, TypeError: for numbers, classes and options that do not exist or exclude each other.
        """
        n = (64 if n is None else whole(n, "n")) if x0 is None else count_of(n, x0)
        size, start = chunk_size(self.event, chunk), whole(start, "start", 0)
        given = None if x0 is None else fitting(x0, self.event).to(self.device)
        conditioning = self.conditioning(n, label, guidance, interval, start=start, condition=condition)
        name, draw = Way(solver, steps, grid, tolerance, gamma, restart, seed, plan).sampler(self.interpolant)
        parts, calls, seconds = [], 0.0, 0.0
        for block in blocks(n, size):
            rows, first = torch.arange(block.start, block.stop, device=self.device), start + block.start
            states = self.base(len(block), seed=seed, start=first) if given is None else given[rows]
            begun = now(self.device)
            x, each = draw(conditioning.subset(rows), states, first)
            seconds += now(self.device) - begun
            parts.append(x)
            calls += each * len(block) / n
        return Drawn(name, torch.cat(parts), round(calls, 6), seconds)

    def restored(self, x: Tensor) -> Tensor:
        """Samples in the units of the data, as they were stored: states, which all else is, without scale and shift."""
        return self.units.restored(x)

    def __repr__(self) -> str:
        """One line: where it is, on what and by what it was trained, how far."""
        return (
            f"Run({self.folder.path}: {self.config.method} on {self.config.dataset}, step {self.step}, {self.device})"
        )

"""A run on disk: its settings, its map, its data, and samples of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from flowops.data import Dataset
from flowops.interpolants import Interpolant
from flowops.maps import LearnedMap
from flowops.sampling import Solved, grids, noise, sample, solve
from flowops.training._manifest import CheckpointError
from flowops.training.assembly import dataset_of, interpolant_of, method_of, network_of
from flowops.training.checkpoint import load_weights
from flowops.training.conditioning import Conditioning
from flowops.training.config import TrainConfig
from flowops.training.config_file import load_config
from flowops.training.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A trained flow map with everything needed to sample it; `Run.load` reads it, `train` returns it.

    Attributes:
        folder: where it lies.
        config: its settings.
        step: number of steps behind these weights.
        event: shape of a sample.
        classes: names of the classes, empty if the map knows none.
        paired: whether the data come with base samples of their own.
        X: the map with averaged weights, which are constants.
        interpolant: its schedule.
        device: where it computes.
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

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        step: int | None = None,
        average: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Run:
        """The run in a folder.

        Args:
            path: the folder.
            step: which checkpoint; None for the newest that is whole.
            average: name of the average of the weights, "none" for the weights themselves; None for the first average.
            device: where the map goes.

        Raises:
            FileNotFoundError: if there is no run, or no such checkpoint.
            CheckpointError: if the weights are damaged, or there is no such average.
        """
        folder = RunFolder(Path(path))
        if not folder.config.is_file() or not folder.facts.is_file():
            raise FileNotFoundError(f"`{path}` must be the folder of a run, and it has no config.yaml; check the path.")
        config = load_config(folder.config)
        event, classes, paired = _samples(folder.facts)
        names = [f"{decay:g}" for decay in config.averages] + [f"power-{width:g}" for width in config.power]
        wanted = None if average == "none" else average or names[0]
        if wanted is not None and wanted not in names:
            raise CheckpointError(f"`average` must be one of {', '.join(names)} or none in {path}, got {wanted!r}.")
        step, weights = load_weights(folder.checkpoints, step, wanted)
        guidance = isinstance(method_of(config).options.guidance, tuple)
        network = network_of(config, event, len(classes) or None, guidance=guidance)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"The weights in {folder.checkpoints / str(step)} must be those of the network of config.yaml, and are "
                f"of another one; restore that file."
            ) from error
        X = LearnedMap(network).to(device).eval().requires_grad_(False)
        interpolant = interpolant_of(config).to(device)
        return cls(folder, config, step, event, classes, paired, X, interpolant, torch.device(device))

    @cached_property
    def dataset(self) -> Dataset:
        """The data it was trained on."""
        return dataset_of(self.config)

    def base(self, n: int, *, seed: int = 0) -> Tensor:
        """The first `n` base samples of a seed; sample i is the same whatever `n`."""
        first = self.dataset.reference(n, seed=seed).x0 if self.paired else None
        return (noise(n, self.event, seed=seed) if first is None else first).to(self.device)

    def sample(
        self,
        n: int = 64,
        *,
        steps: int = 1,
        grid: Sequence[float] | None = None,
        seed: int = 0,
        label: int | Sequence[int] | None = None,
        guidance: float | None = None,
        chunk: int = 1024,
    ) -> Tensor:
        """`n` samples of the map, `[n, *event]`; the same seed gives the same pictures by any number of steps.

        Args:
            n: how many.
            steps: equal steps from 0 to 1, the number of network calls.
            grid: times from 0 to 1, in place of equal steps.
            seed: of the base samples.
            label: a class or one per sample; None for all classes in turn.
            guidance: scale of classifier-free guidance; see `Conditioning`.
            chunk: samples computed at once.

        Raises:
            ValueError: for a class that does not exist, labels of a run without, and numbers that are not positive.
        """
        x0, conditioning = self.base(n, seed=seed), self.conditioning(n, label, guidance)
        return sample(conditioning.map(), x0, grids.uniform(steps) if grid is None else grid, chunk=chunk)

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
    ) -> Solved:
        """`n` samples of the map's own diagonal field by a solver, with the number of network calls.

        Args:
            n: how many; further arguments as in `sample`.
            method: dopri5, or heun, euler, ddim and dpm-solver, which want `steps` or a `grid`.
            tolerance: of dopri5.
        """
        x0, conditioning = self.base(n, seed=seed), self.conditioning(n, label, guidance)
        schedule = self.interpolant if method in ("ddim", "dpm-solver") else None
        return solve(
            conditioning.field(), x0, method, steps=steps, grid=grid, tolerance=tolerance, interpolant=schedule
        )

    def conditioning(self, n: int, label: int | Sequence[int] | None, guidance: float | None) -> Conditioning:
        """The labels and the guidance of `n` samples, checked."""
        return Conditioning.of(self, n, label, guidance)

    @property
    def guided(self) -> bool:
        """Whether the map takes a scale of guidance."""
        return isinstance(method_of(self.config).options.guidance, tuple)


def _samples(path: Path) -> tuple[torch.Size, tuple[str, ...], bool]:
    """What `run.json` says of the samples: their shape, the names of the classes, whether they come in pairs."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return torch.Size(facts["event"]), tuple(map(str, facts["classes"])), bool(facts["paired"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"`{path}` must hold event, classes and paired, and does not; use another run.") from error

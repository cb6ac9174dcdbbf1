"""What a recipe is: stages of training, each a configuration, with the figures of the paper and how they were taken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments._recipes import configured, judged, status
from flowops._named import texts
from flowops.cli.console import to_stderr
from flowops.fields import VelocityField
from flowops.training import Run, TrainConfig, train

DAY = 24 * 3600 * 1024 / (8 * 0.21)
"""Samples of a day of one H200 at four passes of the network each: the README of Gsunshine/py-meanflow measures
0.21 s for a step of 1,024 on eight, compiled, with a network of 21 G multiply-adds. Our own rate is owed."""
PASSES = 4.0  # of that: a value and its tangent forward, twice a value backward


@dataclass(frozen=True)
class Stage:
    """One run of a recipe.

    Attributes:
        name: of its folder below that of the recipe.
        config: its settings as the paper has them.
        passes: passes of the network for a sample, one forward, two backward.
        init: the stage whose averaged weights are the first ones, or None.
        teacher: the stage that is distilled, or None.
        guide: what makes a teacher of the runs before, where one stage alone is none.
        lengths: numbers of steps in options of the method, which a shorter run divides, as `{name}` in their text.
    """

    name: str
    config: TrainConfig
    passes: float = PASSES
    init: str | None = None
    teacher: str | None = None
    guide: Callable[[Mapping[str, Run]], VelocityField] | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)

    def written(self, factor: float = 1.0) -> TrainConfig:
        """The settings of a run `factor` as long: its steps, and what is counted in steps, in whole hundreds."""
        c = self.config

        def shorter(steps: int) -> int:
            return steps if factor >= 1 else max(100, int(factor * steps) // 100 * 100)

        lengths = {name: shorter(steps) for name, steps in self.lengths.items()}
        options = tuple(text.format(**lengths) if "{" in text else text for text in texts(c.options))
        o = replace(c.optimizer, warmup=c.optimizer.warmup and shorter(c.optimizer.warmup))
        o = replace(o, decay_start=shorter(o.decay_start))
        return replace(c, options=options, steps=shorter(c.steps or 0), optimizer=o)


@dataclass(frozen=True)
class Recipe:
    """A paper's way to train, and what came of it.

    Attributes:
        name: of the module and of the folder below `runs`.
        source: the paper, and what of it was read.
        stages: in their order; the last one is judged.
        figures: FID by number of steps, as the paper prints it.
        protocol: how those were taken.
        unlike: what is still other than there, in words.
        ours: FID by number of steps, as we measured it; empty while it is owed.
        weights: whether the first stage is that of published weights; see `edm_weights`.
    """

    name: str
    source: str
    stages: tuple[Stage, ...]
    figures: Mapping[int, float]
    protocol: str
    unlike: tuple[str, ...]
    ours: Mapping[int, float] = field(default_factory=dict)
    weights: bool = False

    @property
    def samples(self) -> float:
        """Samples of all stages, each counted by its passes in units of `PASSES`."""
        return sum((s.config.steps or 0) * _seen(s.config) * s.passes / PASSES for s in self.stages)

    @property
    def share(self) -> float:
        """The part of the paper's length that fits one day of one H200, at most one."""
        return min(1.0, DAY / self.samples)

    def written(self, one_day: bool = False) -> dict[str, TrainConfig]:
        """The settings of every stage, with the folders that they read and write."""
        found: dict[str, TrainConfig] = {}
        folders = {stage.name: f"runs/{self.name}{'_day' * one_day}/{stage.name}" for stage in self.stages}
        folders |= {"edm": EDM} if self.weights else {}
        for stage in self.stages:
            config = replace(stage.written(self.share if one_day else 1.0), out=folders[stage.name])
            init = None if stage.init is None else folders[stage.init]
            found[stage.name] = replace(config, init=init, teacher=stage.teacher and folders[stage.teacher])
        return found

    def train(self, words: Sequence[str], one_day: bool) -> Run:
        """Every stage that is not finished, under the flags of `flowops train` in `words`, which hold for all."""
        runs: dict[str, Run] = {}
        if self.weights and not Path(EDM).is_dir():
            raise FileNotFoundError(f"{EDM} must hold EDM's published weights, and does not. {FETCH}")
        for stage, config in zip(self.stages, self.written(one_day).values(), strict=True):
            config, _ = configured(config, f"recipes.{self.name}", [*words, "--out", config.out])
            given: dict[str, Any] = {} if stage.guide is None else {"teacher": stage.guide(runs)}
            runs[stage.name] = train(config, resume=True, report=to_stderr, **given)
        return runs[self.stages[-1].name]


EDM = "runs/edm_cifar10"
"""The folder of EDM's weights, as `edm_weights` writes it."""
FETCH = (
    "Fetch edm-cifar10-32x32-uncond-vp.pkl from https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/, save the state dict "
    "of its `ema` where EDM's code is installed, and run python -m experiments.recipes.edm_weights FILE --data PATH."
)


def _seen(config: TrainConfig) -> int:
    """States of a step: of whole trajectories sixteen a sample."""
    return (config.batch or 0) * (16 if config.method == "cmt" else 1)


def go(recipe: Recipe, words: Sequence[str] | None = None, n: int = 50_000) -> int:
    """The command of a recipe; the exit status."""
    given = list(sys.argv[1:] if words is None else words)
    one_day = "--one-day" in given
    left = [word for word in given if word != "--one-day"]

    def work() -> None:
        judged(recipe.train(left, one_day), n=n, solvers=())

    return status(work, f"recipes.{recipe.name}")

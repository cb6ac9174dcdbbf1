r"""Distances of samples from data: of points from a known law and from draws, of images by features."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops.data import Dataset, Images, to_uint8
from flowops.evaluation.measures import OF_FEATURES, OF_POINTS, Columns, Factory, Measure, named
from flowops.evaluation.seen import NEIGHBOURS, Seen
from flowops.interpolants import Interpolant, linear
from flowops.metrics import (
    Extractor,
    FeatureStatistics,
    Moments,
    cell_masses,
    frechet_distance,
    histogram_kl,
    statistics,
)
from flowops.metrics.extractors import FRECHET
from flowops.problems import Problem

LEAST = 10  # samples for which the metrics mean anything


@dataclass(frozen=True)
class Floor:
    """What data score against data: as good as samples of this number can be.

    Attributes:
        name: which data they are.
        values: one for each column.
    """

    name: str
    values: tuple[float, ...]


class Scores(ABC):
    """Several distances of each set of samples, fixed before the first is measured.

    Attributes:
        columns: their names; smaller is better, but for precision and recall.
        reference: what is compared with, in words.
    """

    columns: tuple[str, ...]
    reference: str

    @abstractmethod
    def seen(self) -> Seen:
        """An empty collection of samples, which are added to it and then measured by `values`."""

    @abstractmethod
    def floor(self) -> Floor:
        """The distances of data."""

    @abstractmethod
    def _values(self, seen: Seen) -> tuple[float, ...]:
        """The distances of enough samples."""

    def values(self, seen: Seen) -> tuple[float, ...]:
        """The distances of the samples that are finite; NaN where they are fewer than ten."""
        return self._values(seen) if seen.count >= LEAST else (math.nan,) * len(self.columns)

    def of(self, x: Tensor) -> tuple[float, ...]:
        """The distances of samples `[n, *event]`."""
        return self.values(self.seen().add(x))


class PointScores(Scores):
    """Distances of points: KL on a histogram where the density is known, and those of `OF_POINTS` to draws.

    There is no KL of fewer samples than cells with mass, where `histogram_kl` is far too small: the column is left out
    where `n` is below their number, and NaN where fewer samples are finite. Of more samples than draws the first are
    measured, as many as there are draws, so that the data stand beside them at equal numbers.

    Args:
        dataset: the data.
        n: samples that will be judged, and draws to compare with, which are at most half of a finite set.
        split: split of the data.
        seed: seed of the draws.
        metrics: further measures by name, which see samples and data on the CPU.
        device: where those of `OF_POINTS` are computed; the CPU in place of one that has no float64.
    """

    def __init__(
        self,
        dataset: Dataset,
        n: int,
        *,
        split: str,
        seed: int,
        metrics: Sequence[str | Factory] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        judged, n = n, n if dataset.size is None else min(n, dataset.size // 2)
        self.device = torch.device("cpu" if torch.device(device).type == "mps" else device)
        self.data, self.fresh = dataset.reference(2 * n, split=split, seed=seed).x1.cpu().split(n)
        self.measures: dict[str, Measure] = {}
        if (masses := _masses(dataset)) is not None and n >= (cells := int((masses > 0).sum())):
            self.measures["KL"] = lambda x: float(histogram_kl(x, masses)) if len(x) >= cells else math.nan
        for name, factory in OF_POINTS.items():
            self.measures[name] = self._there(factory(self.data.to(self.device)))
        self.measures |= {name: factory(self.data) for name, factory in map(named, metrics)}
        self.columns = tuple(self.measures)
        self.reference = f"{n} draws of {dataset.provenance}"
        if n < judged:
            self.reference += f", with the first {n} samples"

    def seen(self) -> Seen:
        return Seen(None)

    def floor(self) -> Floor:
        return Floor(f"data, {len(self.fresh)} other draws", self.of(self.fresh))

    def _values(self, seen: Seen) -> tuple[float, ...]:
        x = torch.cat(seen.samples)[: len(self.data)]
        return tuple(float(measure(x)) for measure in self.measures.values())

    def _there(self, measure: Measure) -> Measure:
        return lambda x: measure(x.to(self.device))


@dataclass(frozen=True)
class _HeldOut:
    """The images that stand for data among the samplers, and what they are compared with.

    Attributes:
        name: which they are.
        x: the images.
        known: statistics of the images that they are compared with.
        measures: those of `OF_FEATURES` against some of these.
    """

    name: str
    x: Tensor
    known: FeatureStatistics
    measures: Sequence[Columns]


class ImageScores(Scores):
    """Distances of images: Fréchet distance to all images of a split; those of `OF_FEATURES` to some of them.

    The Fréchet distance falls with the number of samples, and the recall grows with it. Where there are fewer images
    held out than samples, or they are compared with fewer than all, data have no entry in these columns, and both have
    one in further columns: of the first samples, as many as there are images held out, under the same comparison.

    Args:
        dataset: the data.
        n: images that will be judged.
        extractor: what gives the features, and where their distances are computed.
        split: split of the data.
        seed: which images of a split are taken.
        cache: folder in which the statistics of the split are kept.
        metrics: further measures by name, of the images themselves on the CPU.
    """

    def __init__(
        self,
        dataset: Dataset,
        n: int,
        extractor: Extractor,
        *,
        split: str,
        seed: int,
        cache: Path,
        metrics: Sequence[str | Factory] = (),
    ) -> None:
        self.dataset, self.extractor, self.split, self.seed = dataset, extractor, split, seed
        all_of = dataset.pixels(split) if isinstance(dataset, Images) else None
        images = to_uint8(dataset.reference(n, split=split, seed=seed).x1) if all_of is None else all_of
        self.n, self.count = n, len(images)
        chosen = f", chosen by the seed {seed}" if all_of is None else ""
        self.reference = f"{self.count} images of the split {split} of {dataset.provenance}{chosen}"
        self.statistics = _cached(cache, images, extractor, split, self.reference)
        self.data = dataset.reference(min(n, self.count, NEIGHBOURS), split=split, seed=seed).x1
        features = extractor.features(to_uint8(self.data))
        self.device, self.measures = features.device, _of(features)
        self.own = {name: factory(self.data.cpu()) for name, factory in map(named, metrics)}
        names = [
            f"{name} ({extractor.name})" if name == "kernel distance" else name
            for columns in OF_FEATURES
            for name in columns
        ]
        frechet = FRECHET.get(extractor.name, f"Fréchet distance ({extractor.name})")
        further = (f"{frechet}, first {self._held}", f"recall, first {self._held}") if self._unequal else ()
        self._recall = 1 + names.index("recall")
        self.columns = (frechet, *names, *further, *self.own)

    def seen(self) -> Seen:
        return Seen(self.extractor, whole=bool(self.own))

    @property
    def _other(self) -> str | None:
        """The split that is held out, if there is one."""
        other = "test" if self.split == "train" else "train"
        return other if isinstance(self.dataset, Images) and other in self.dataset.splits else None

    @property
    def _held(self) -> int:
        """How many images are held out: as many as are judged if there are so many, half of them without a split."""
        if self._other is None or not isinstance(self.dataset, Images):
            return min(self.n, self.count // 2, NEIGHBOURS)
        there = len(self.dataset.pixels(self._other))
        return self.n if self.n <= there else min(there, NEIGHBOURS)

    @property
    def _unequal(self) -> bool:
        """Whether data are not measured as the samples are."""
        return self._other is None or self._held < self.n

    @cached_property
    def _held_out(self) -> _HeldOut:
        m = self._held
        if self._other is not None:
            x = self.dataset.reference(m, split=self._other, seed=self.seed).x1
            return _HeldOut(f"data, {m} of the split {self._other}", x, self.statistics, self.measures)
        half = self.count // 2
        one, two = self.dataset.reference(2 * half, split=self.split, seed=self.seed).x1.split(half)
        known = statistics(to_uint8(one), self.extractor, provenance="one half")
        measures = _of(self.extractor.features(to_uint8(one[:NEIGHBOURS])))
        return _HeldOut(f"data, {m} of one half against the other, {half}", two[:m], known, measures)

    def floor(self) -> Floor:
        """Images of the other split, as many as are judged if there are so many; two halves where there is none."""
        held = self._held_out
        values = list(self._values(self.seen().add(held.x)))
        if self._unequal:
            values[0] = values[self._recall] = math.nan  # of another number than those of the samples
        return Floor(held.name, tuple(values))

    def _values(self, seen: Seen) -> tuple[float, ...]:
        features = torch.cat(seen.features).to(self.device)
        own = [float(measure(torch.cat(seen.samples))) for measure in self.own.values()]
        frechet = float(frechet_distance(self.statistics, seen.statistics(self.extractor)))
        further = self._further(features) if self._unequal else ()
        return frechet, *_all(self.measures, features), *further, *own

    def _further(self, features: Tensor) -> tuple[float, float]:
        """The Fréchet distance and the recall of the first samples, as the images that are held out are measured."""
        held, first = self._held_out, features[: self._held]
        if len(first) < self._held:
            return math.nan, math.nan
        moments = Moments.of(first).statistics(self.extractor, "the first samples")
        return float(frechet_distance(held.known, moments)), _all(held.measures, first)[self._recall - 1]


def _all(measures: Sequence[Columns], features: Tensor) -> tuple[float, ...]:
    """Every column of these measures."""
    return tuple(value for measure in measures for value in measure(features))


def _of(features: Tensor) -> list[Columns]:
    """The measures of features against these."""
    return [factory(features) for factory in OF_FEATURES.values()]


def _masses(dataset: Dataset) -> Tensor | None:
    """The masses of 50 x 50 cells of [-1, 1]^2 under a law in the plane whose density is known."""
    law = dataset.problem
    if law is None:
        return None
    return _masses_of(law) if isinstance(law, Hashable) else _masses_of.__wrapped__(law)


@lru_cache(maxsize=8)
def _masses_of(law: Callable[[Interpolant], Problem[Any, Any]]) -> Tensor:
    """The same for every score of a law: tests of a run in training want it again and again. To be read only."""
    with torch.inference_mode(False):  # whoever asks first
        return cell_masses(law(linear()), points=4)


def _cached(folder: Path, images: Tensor, extractor: Extractor, split: str, provenance: str) -> FeatureStatistics:
    """The statistics of a split, from a file if a whole one of the same images and features is there."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", extractor.name)
    path = folder / f"reference-{name}-{split}-{len(images)}.safetensors"
    with suppress(OSError, ValueError):
        if (kept := FeatureStatistics.load(path, extractor=extractor)).provenance == provenance:
            return kept
    found = statistics(images, extractor, provenance=provenance)
    found.save(path)
    return found

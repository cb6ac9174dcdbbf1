r"""Distances of samples from data: of points from a known law and from draws, of images by features."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from flowops.data import Dataset, Images, to_uint8
from flowops.evaluation.measures import OF_FEATURES, OF_POINTS, Measure, named
from flowops.interpolants import linear
from flowops.metrics import (
    Extractor,
    FeatureStatistics,
    cell_masses,
    frechet_distance,
    histogram_kl,
    statistics,
)
from flowops.metrics.inception import NAME as INCEPTION

NEIGHBOURS = 10_000  # images of each set for the metrics that compare all pairs
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
    def of(self, x: Tensor) -> tuple[float, ...]:
        """The distances of finite samples `[n, *event]`."""

    @abstractmethod
    def floor(self) -> Floor:
        """The distances of data."""


class PointScores(Scores):
    """Distances of points: KL on a histogram where the density is known, and those of `OF_POINTS` to draws.

    Args:
        dataset: the data.
        n: draws to compare with, at most half of a finite set.
        split: split of the data.
        seed: seed of the draws.
        metrics: further measures by name.
    """

    def __init__(self, dataset: Dataset, n: int, *, split: str, seed: int, metrics: Sequence[str] = ()) -> None:
        n = n if dataset.size is None else min(n, dataset.size // 2)
        self.data, self.fresh = dataset.reference(2 * n, split=split, seed=seed).x1.cpu().split(n)
        self.measures: dict[str, Measure] = {}
        if (masses := _masses(dataset)) is not None:
            self.measures["KL"] = lambda x: float(histogram_kl(x, masses))
        for name, factory in [*OF_POINTS.items(), *map(named, metrics)]:
            self.measures[name] = factory(self.data)
        self.columns = tuple(self.measures)
        self.reference = f"{n} draws of {dataset.provenance}"

    def of(self, x: Tensor) -> tuple[float, ...]:
        return tuple(float(measure(x)) for measure in self.measures.values())

    def floor(self) -> Floor:
        return Floor(f"data, {len(self.fresh)} other draws", self.of(self.fresh))


class ImageScores(Scores):
    """Distances of images: Fréchet distance to all images of a split; those of `OF_FEATURES` to some of them.

    Args:
        dataset: the data.
        n: images that will be judged.
        extractor: what gives the features.
        split: split of the data.
        seed: which images of a split are taken.
        cache: folder in which the statistics of the split are kept.
        metrics: further measures by name, of the images themselves.
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
        metrics: Sequence[str] = (),
    ) -> None:
        self.dataset, self.extractor, self.split, self.seed = dataset, extractor, split, seed
        all_of = dataset.pixels(split) if isinstance(dataset, Images) else None
        images = to_uint8(dataset.reference(n, split=split, seed=seed).x1) if all_of is None else all_of
        self.n, self.count = n, len(images)
        self.reference = f"{self.count} images of the split {split} of {dataset.provenance}"
        self.statistics = _cached(cache, images, extractor, split, self.reference)
        self.data = dataset.reference(min(n, self.count, NEIGHBOURS), split=split, seed=seed).x1
        self.own = {name: factory(self.data) for name, factory in map(named, metrics)}
        features = [f"{name} ({extractor.name})" if name == "kernel distance" else name for name in OF_FEATURES]
        frechet = "FID" if extractor.name == INCEPTION else f"Fréchet distance ({extractor.name})"
        self.columns = (frechet, *features, *self.own)

    def of(self, x: Tensor) -> tuple[float, ...]:
        return self._of(x, self.statistics, self.data)

    def floor(self) -> Floor:
        """Images of the other split, as many as are judged if there are so many; two halves where there is none."""
        other = "test" if self.split == "train" else "train"
        if isinstance(self.dataset, Images) and other in self.dataset.splits:
            m = min(self.n, len(self.dataset.pixels(other)))
            x = self.dataset.reference(m, split=other, seed=self.seed).x1
            return Floor(f"data, {m} of the split {other}", self.of(x))
        half = self.count // 2
        one, two = self.dataset.reference(2 * half, split=self.split, seed=self.seed).x1.split(half)
        known = statistics(to_uint8(one), self.extractor, provenance="one half")
        return Floor(f"data, two halves of {half}", self._of(two, known, one[:NEIGHBOURS]))

    def _of(self, x: Tensor, known: FeatureStatistics, data: Tensor) -> tuple[float, ...]:
        images = to_uint8(x)
        frechet = float(frechet_distance(known, statistics(images, self.extractor, provenance="samples")))
        real, fake = (self.extractor.features(some).cpu() for some in (to_uint8(data), images[:NEIGHBOURS]))
        features = [factory(real)(fake) for factory in OF_FEATURES.values()]
        return frechet, *features, *(float(measure(x)) for measure in self.own.values())


def _masses(dataset: Dataset) -> Tensor | None:
    """The masses of 50 x 50 cells of [-1, 1]^2 under a law in the plane whose density is known."""
    return None if dataset.problem is None else cell_masses(dataset.problem(linear()), points=4)


def _cached(folder: Path, images: Tensor, extractor: Extractor, split: str, provenance: str) -> FeatureStatistics:
    """The statistics of a split, from a file if one of the same images and features is there."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", extractor.name)
    path = folder / f"reference-{name}-{split}-{len(images)}.safetensors"
    if path.is_file():
        found = FeatureStatistics.load(path, extractor=extractor)
        if found.provenance == provenance:
            return found
    found = statistics(images, extractor, provenance=provenance)
    found.save(path)
    return found

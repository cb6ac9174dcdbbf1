r"""Distances of samples from data: for points with a known law and with fresh draws, for pictures through features.

What is measured with is fixed before the first sampler is, and the same for all: the data, the width of the kernel, the
directions, the features.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowops.data import Dataset, Images, Toy, to_uint8
from flowops.interpolants import linear
from flowops.metrics import (
    Extractor,
    FeatureStatistics,
    cell_masses,
    energy_distance,
    frechet_distance,
    histogram_kl,
    kernel_distance,
    maximum_mean_discrepancy,
    precision_recall,
    sliced_wasserstein2,
    statistics,
)
from flowops.metrics.inception import NAME as INCEPTION

PAIRS = 5000  # points of each sample whose distances are all taken
NEIGHBOURS = 10_000  # pictures of each set for the metrics that compare all pairs
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
    """A row of distances for each set of samples.

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
    """Distances of points: KL on a histogram where the law is known, sliced W2, MMD and energy distance to draws.

    The kernel of the MMD is the mean of four Gaussians, of the median distance of the data and of 1/2, 1/4, 1/8 of it.

    Args:
        dataset: the data.
        n: draws to compare with, at most half of a finite set.
        split: of the data.
        seed: of the draws.
    """

    def __init__(self, dataset: Dataset, n: int, *, split: str, seed: int) -> None:
        n = n if dataset.size is None else min(n, dataset.size // 2)
        self.data, self.fresh = dataset.reference(2 * n, split=split, seed=seed).x1.cpu().split(n)
        self.masses = _masses(dataset)
        self.columns = (*(["KL"] if self.masses is not None else []), "sliced W2", "MMD^2", "energy distance")
        self.reference = f"{n} draws of {dataset.provenance}"
        some = self.data[:1000].flatten(1).double()
        median = torch.nn.functional.pdist(some).median().item()
        self.bandwidths = [median / 2**k for k in range(4)]

    def of(self, x: Tensor) -> tuple[float, ...]:
        divergence = [] if self.masses is None else [histogram_kl(x, self.masses)]
        few, data = x[:PAIRS], self.data[:PAIRS]
        distances = [
            sliced_wasserstein2(x, self.data),
            maximum_mean_discrepancy(few, data, bandwidths=self.bandwidths),
            energy_distance(few, data),
        ]
        return tuple(float(value) for value in (*divergence, *distances))

    def floor(self) -> Floor:
        return Floor(f"data, {len(self.fresh)} other draws", self.of(self.fresh))


class PictureScores(Scores):
    """Distances of pictures: Fréchet distance to all pictures of a split; kernel distance, precision, recall to some.

    Args:
        dataset: the data.
        n: pictures that will be judged.
        extractor: of the features.
        split: of the data.
        seed: which pictures of a split are taken.
        cache: folder in which the statistics of the split are kept.
    """

    def __init__(self, dataset: Dataset, n: int, extractor: Extractor, *, split: str, seed: int, cache: Path) -> None:
        self.dataset, self.extractor, self.split, self.seed = dataset, extractor, split, seed
        all_of = dataset.pictures(split) if isinstance(dataset, Images) else None
        pictures = to_uint8(dataset.reference(n, split=split, seed=seed).x1) if all_of is None else all_of
        self.n, self.count = n, len(pictures)
        distance = "FID" if extractor.name == INCEPTION else f"Fréchet distance ({extractor.name})"
        self.columns = (distance, f"kernel distance ({extractor.name})", "precision", "recall")
        self.reference = f"{self.count} pictures of the split {split} of {dataset.provenance}"
        self.statistics = _cached(cache, pictures, extractor, split, self.reference)
        some = dataset.reference(min(n, self.count, NEIGHBOURS), split=split, seed=seed).x1
        self.features = extractor.features(to_uint8(some)).cpu()

    def of(self, x: Tensor) -> tuple[float, ...]:
        return self._of(x, self.statistics, self.features)

    def floor(self) -> Floor:
        """Pictures of the other split, as many as are judged if there are so many; two halves where there is none."""
        other = "test" if self.split == "train" else "train"
        if isinstance(self.dataset, Images) and other in self.dataset.splits:
            m = min(self.n, len(self.dataset.pictures(other)))
            x = self.dataset.reference(m, split=other, seed=self.seed).x1
            return Floor(f"data, {m} of the split {other}", self.of(x))
        half = self.count // 2
        one, two = self.dataset.reference(2 * half, split=self.split, seed=self.seed).x1.split(half)
        known = statistics(to_uint8(one), self.extractor, provenance="one half")
        features = self.extractor.features(to_uint8(one[:NEIGHBOURS])).cpu()
        return Floor(f"data, two halves of {half}", self._of(two, known, features))

    def _of(self, x: Tensor, known: FeatureStatistics, real: Tensor) -> tuple[float, ...]:
        pictures = to_uint8(x)
        frechet = frechet_distance(known, statistics(pictures, self.extractor, provenance="samples"))
        fake = self.extractor.features(pictures[:NEIGHBOURS]).cpu()
        kernel = kernel_distance(real, fake, size=min(1000, min(len(real), len(fake)) // 2))
        shares = precision_recall(real, fake)
        return float(frechet), kernel.mean, shares.precision, shares.recall


def _masses(dataset: Dataset) -> Tensor | None:
    """The masses of 50 x 50 cells of [-1, 1]^2 under a law in the plane that is known."""
    if not isinstance(dataset, Toy) or dataset.problem is None:
        return None
    return cell_masses(dataset.problem(linear()), points=4)


def _cached(folder: Path, pictures: Tensor, extractor: Extractor, split: str, provenance: str) -> FeatureStatistics:
    """The statistics of a split, from a file if one of the same pictures and features is there."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", extractor.name)
    path = folder / f"reference-{name}-{split}-{len(pictures)}.safetensors"
    if path.is_file():
        found = FeatureStatistics.load(path, extractor=extractor)
        if found.provenance == provenance:
            return found
    found = statistics(pictures, extractor, provenance=provenance)
    found.save(path)
    return found

"""What is kept of samples that come some at a time, from one process or several: enough for every measure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from flowops.data import to_uint8
from flowops.metrics import Extractor, FeatureStatistics, Moments
from flowops.metrics.extractor import chunks

NEIGHBOURS = 10_000  # images of each set for the metrics that compare all pairs
_CHUNK = 500  # images whose features are computed at once


@dataclass
class Seen:
    """Of images the moments of all features and the first of these; of other samples they themselves.

    Args:
        extractor: what gives the features; None for samples that are no images.
        whole: whether the samples themselves are kept, on the CPU, though they are images.
        count: samples that are finite, which alone are measured.
        lost: the others.
    """

    extractor: Extractor | None
    whole: bool = False
    count: int = 0
    lost: int = 0
    moments: Moments | None = None
    features: list[Tensor] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)

    def add(self, x: Tensor) -> Seen:
        """Take in samples `[n, *event]`, on any device; returns itself."""
        finite = x[x.isfinite().flatten(1).all(1)]
        self.lost += len(x) - len(finite)
        if self.extractor is not None:
            for part in chunks(to_uint8(finite), _CHUNK):
                self._add_features(self.extractor(part))
        if self.whole or self.extractor is None:
            self.samples.append(finite.cpu())
        self.count += len(finite)
        return self

    def joined(self, other: Seen) -> Seen:
        """This with those of a process that took the samples that follow."""
        moments = self.moments
        if other.moments is not None:
            moments = other.moments if moments is None else moments.joined(other.moments)
        return replace(
            self, count=self.count + other.count, lost=self.lost + other.lost, moments=moments,
            features=self.features + other.features, samples=self.samples + other.samples,
        )  # fmt: skip

    def sent(self) -> Seen:
        """The same to travel to another process: on the CPU, without the extractor."""
        moments = None if self.moments is None else self.moments.cpu()
        return replace(self, extractor=None, moments=moments, features=[part.cpu() for part in self.features])

    def statistics(self, extractor: Extractor) -> FeatureStatistics:
        """Those of the features of all images.

        Raises:
            ValueError: if there is none.
        """
        if self.moments is None:
            raise ValueError("The samples must hold finite images to have statistics, and hold none; draw others.")
        return self.moments.statistics(extractor, "samples")

    def _add_features(self, features: Tensor) -> None:
        own = Moments.of(features)
        self.moments = own if self.moments is None else self.moments.joined(own)
        if room := NEIGHBOURS - sum(map(len, self.features)):
            self.features.append(features[:room].clone())

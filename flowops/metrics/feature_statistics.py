r"""Mean and covariance of the features of images, and the file that keeps them with where they come from.

The images are seen once, a chunk at a time. Means $\mu$ and scatters $S=\sum_i(f_i-\mu)(f_i-\mu)^T$ of two parts are
merged by $S=S_a+S_b+\frac{n_an_b}{n_a+n_b}\,\delta\delta^T$ with $\delta=\mu_b-\mu_a$ in float64: no sum of squares is
formed, from which a large mean would have to be subtracted again (Chan, Golub and LeVeque 1979).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from flowops._files import written
from flowops._named import require
from flowops.metrics._files import opened
from flowops.metrics.extractor import PROTOCOL, Extractor, chunks

_FORMAT: Final = "flowops feature statistics 1"


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Moments of the features of a set of images.

    Args:
        mean: `[d]` float64.
        covariance: `[d, d]` float64, with $1/(n-1)$.
        count: $n$, the number of images.
        extractor: name of what computed the features.
        provenance: which images these are, one line.
        protocol: version of the protocol.

    Raises:
        ValueError: for moments that do not fit together.
    """

    mean: Tensor
    covariance: Tensor
    count: int
    extractor: str
    provenance: str
    protocol: int = PROTOCOL

    def __post_init__(self) -> None:
        d = self.mean.numel()
        shapes = (list(self.mean.shape), list(self.covariance.shape))
        if shapes != ([d], [d, d]) or {self.mean.dtype, self.covariance.dtype} != {torch.float64}:
            raise ValueError(
                f"`mean` and `covariance` must be [d] and [d, d] in float64, got {shapes[0]} {self.mean.dtype} "
                f"and {shapes[1]} {self.covariance.dtype}."
            )
        if not bool(self.mean.isfinite().all() and self.covariance.isfinite().all()):
            raise ValueError("`mean` and `covariance` must be finite, got nan or inf; look at the features.")
        if self.count < 2:
            raise ValueError(f"`count` must be at least 2 for a covariance, got {self.count}; take more images.")

    @property
    def dimension(self) -> int:
        """Features per image."""
        return len(self.mean)

    def save(self, path: Path | str) -> None:
        """Write everything to a safetensors file, whole or not at all."""
        metadata = {name: str(getattr(self, name)) for name in ("count", "extractor", "provenance", "protocol")}
        tensors = {"mean": self.mean.cpu().contiguous(), "covariance": self.covariance.cpu().contiguous()}
        with written(path) as temporary:
            require("safetensors.torch", "metrics").save_file(
                tensors, temporary, metadata={"format": _FORMAT, **metadata}
            )

    @classmethod
    def load(cls, path: Path | str, *, extractor: Extractor | str | None = None) -> Self:
        """The statistics in a file.

        Args:
            path: a file that `save` wrote.
            extractor: what they are to be compared with; None for whatever the file has.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is damaged, of another kind, of another protocol, or of another extractor.
        """
        path = Path(path)
        metadata, tensors = opened(path, _FORMAT, "feature statistics")
        try:
            result = cls(
                mean=tensors["mean"],
                covariance=tensors["covariance"],
                count=int(metadata["count"]),
                extractor=metadata["extractor"],
                provenance=metadata["provenance"],
                protocol=int(metadata["protocol"]),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} must hold feature statistics, got incomplete ones: {error}") from error
        if result.protocol != PROTOCOL:
            raise ValueError(
                f"{path} must follow protocol {PROTOCOL}, got protocol {result.protocol}; compute the statistics again."
            )
        wanted = extractor.name if isinstance(extractor, Extractor) else extractor
        if wanted not in (None, result.extractor):
            raise ValueError(
                f"{path} must hold features of {wanted!r}, got those of {result.extractor!r}; compute them again."
            )
        return result


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of features from which their statistics follow, and which those of another part are joined to.

    Attributes:
        count: how many images.
        mean: `[d]` float64.
        scatter: $S$, `[d, d]` float64.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Those of features `[n, d]`, where they are. Cost: $nd^2$ multiplications."""
        features = features.double()
        mean = features.mean(0)
        centered = features - mean
        return cls(len(features), mean, centered.T @ centered)

    def joined(self, other: Moments) -> Moments:
        """Those of both parts."""
        count, delta = self.count + other.count, other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += (self.count * other.count / count) * torch.outer(delta, delta)
        return Moments(count, self.mean + delta * (other.count / count), scatter)

    def cpu(self) -> Moments:
        """The same on the CPU."""
        return Moments(self.count, self.mean.cpu(), self.scatter.cpu())

    def statistics(self, extractor: Extractor, provenance: str) -> FeatureStatistics:
        """The statistics of at least two images, on the CPU."""
        covariance = self.scatter / (self.count - 1)
        return FeatureStatistics(self.mean.cpu(), covariance.cpu(), self.count, extractor.name, provenance)


def statistics(
    images: Tensor | Iterable[Tensor], extractor: Extractor, *, provenance: str, chunk: int = 500
) -> FeatureStatistics:
    """The statistics of images, on the CPU.

    Args:
        images: uint8 `[n, channels, height, width]`, or a stream of such tensors, such as a model that is being sampled
            from; only a chunk of it is kept.
        extractor: see `open_extractor`.
        provenance: one line that goes into the file: which images, of which split or of which model.
        chunk: images at a time; the result does not depend on it beyond rounding.

    Raises:
        TypeError, ValueError: for images that are none, fewer than two, or no provenance.

    Cost: the extractor, and $d^2$ multiplications per image.
    """
    if not isinstance(provenance, str) or not provenance.strip():
        raise ValueError(f"`provenance` must say which images these are, got {provenance!r}; name the set and split.")
    found: Moments | None = None
    for part in chunks(images, chunk):
        own = Moments.of(extractor(part))
        found = own if found is None else found.joined(own)
    if found is None or found.count < 2:
        raise ValueError(f"`images` must be at least 2 images, got {0 if found is None else found.count}; pass more.")
    return found.statistics(extractor, provenance)

"""Images and sequences as rows of patches, and the places of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PERIOD = 1e4  # the lowest angular frequency of a place is one over it


@dataclass(frozen=True)
class Patches:
    """How an event is cut: an image `(channels, height, width)` into squares, a sequence `(length, channels)` in time.

    Attributes:
        event: shape of a state.
        patch: side of a square, or steps in time; it divides the sizes.

    Raises:
        ValueError: for an event of another kind, or a size that `patch` does not divide.
    """

    event: Sequence[int]
    patch: int

    def __post_init__(self) -> None:
        if len(self.event) not in (2, 3) or min(self.event) < 1:
            raise ValueError(
                f"`event` must be (channels, height, width) of images or (length, channels) of sequences, got "
                f"{tuple(self.event)}; pass (3, 32, 32), say, or take mlp."
            )
        if any(size % self.patch for size in self._sizes):
            raise ValueError(
                f"`patch` must divide the sizes of the event {tuple(self.event)}, got {self.patch}; pass one that "
                f"does, or pad the event."
            )

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(self.event[1:]) if len(self.event) == 3 else tuple(self.event[:1])

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of patches along each axis."""
        return tuple(size // self.patch for size in self._sizes)

    @property
    def channels(self) -> int:
        """Channels of an event."""
        return self.event[0] if len(self.event) == 3 else self.event[1]

    @property
    def size(self) -> int:
        """The number of entries of a patch."""
        return self.channels * self.patch ** len(self.grid)

    def cut(self, x: Tensor) -> Tensor:
        """States `[batch, *event]` as rows `[batch, patches, size]`, in each the channels of a place side by side."""
        p = self.patch
        if len(self.grid) == 1:
            return x.unflatten(1, (-1, p)).flatten(2)
        return x.unflatten(3, (-1, p)).unflatten(2, (-1, p)).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def joined(self, rows: Tensor) -> Tensor:
        """States `[batch, *event]` of rows `[batch, patches, size]`."""
        p = self.patch
        if len(self.grid) == 1:
            return rows.unflatten(2, (p, -1)).flatten(1, 2)
        squares = rows.unflatten(2, (p, p, -1)).unflatten(1, self.grid)
        return squares.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def places(self, width: int) -> Tensor:
        r"""$\sin\omega_jk,\cos\omega_jk$ of the place $k$ of every patch, `[patches, width]`, columns before rows.

        $\omega_j=10^{-4j/n}$ for $j=0,\dots,n-1$, $n$ as many as the width has room for. Source: 2212.09748.

        Raises:
            ValueError: if `width` has no room for a sine and a cosine of every coordinate alike.
        """
        n, left = divmod(width, 2 * len(self.grid))
        if left:
            raise ValueError(
                f"`width` must be a multiple of {2 * len(self.grid)} for events {tuple(self.event)}, sines and cosines "
                f"of each coordinate, got {width}; pass {width - left or 2 * len(self.grid)}."
            )
        frequencies = PERIOD ** (-torch.arange(n, dtype=torch.float64) / n)
        axes = (torch.arange(length, dtype=torch.float64) for length in self.grid)
        angles = [axis.flatten()[:, None] * frequencies for axis in torch.meshgrid(*axes, indexing="ij")]
        return torch.cat([f(angle) for angle in reversed(angles) for f in (torch.sin, torch.cos)], 1).float()

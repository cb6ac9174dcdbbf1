r"""Labels and guidance of samples of a flow map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops.fields import VelocityField, guided
from flowops.maps import FlowMap, GuidedMap


@dataclass(frozen=True)
class Conditioning:
    r"""The map and the field of a network for given labels and a scale $w$ of classifier-free guidance.

    A network that was trained with a range of scales takes $w$ as an input: its map is the guided flow map. Of any
    other the field is $b_t(x;\varnothing)+w\,(b_t(x;c)-b_t(x;\varnothing))$, exactly, and the map
    $X_{s,t}(x;\varnothing)+w\,(X_{s,t}(x;c)-X_{s,t}(x;\varnothing))$, which has this field on its diagonal but is not
    the flow of it.

    Attributes:
        X: the map.
        labels: one per sample, or None.
        guidance: $w$, or None for no guidance.
        null: the label that stands for none.
    """

    X: FlowMap
    labels: Tensor | None = None
    guidance: float | None = None
    null: int = 0

    def subset(self, rows: Tensor) -> Conditioning:
        """Some of the samples."""
        return Conditioning(self.X, None if self.labels is None else self.labels[rows], self.guidance, self.null)

    @property
    def learned(self) -> bool:
        """Whether the scale is an input of the network."""
        return self.X.takes("guidance")

    def map(self) -> FlowMap:
        """The flow map that carries these samples."""
        if self.labels is None:
            return self.X
        X = self.X.given(label=self.labels)
        if self.guidance is None:
            return X
        if self.learned:
            return X.given(guidance=torch.full_like(self.labels, self.guidance, dtype=torch.float32))
        return GuidedMap(X, self.X.given(label=torch.full_like(self.labels, self.null)), self.guidance)

    def field(self) -> VelocityField:
        """The field whose solutions carry these samples."""
        b = self.X.velocity()
        if self.labels is None:
            return b
        if self.guidance is None:
            return b.given(label=self.labels)
        if self.learned:
            return b.given(label=self.labels, guidance=torch.full_like(self.labels, self.guidance, dtype=torch.float32))
        null = torch.full_like(self.labels, self.null)
        return guided(b.given(label=self.labels), b.given(label=null), self.guidance)


def labels_of(
    n: int, classes: Sequence[str], label: int | Sequence[int] | None, guidance: float | None
) -> Tensor | None:
    """The labels of `n` samples, `[n]` on the CPU: one class, one per sample, all in turn; None where there are none.

    Raises:
        ValueError: for a class out of range, the wrong number of them, and labels or guidance of a map that has none.
    """
    if not classes:
        if label is not None or guidance is not None:
            name = "label" if label is not None else "guidance"
            raise ValueError(f"`{name}` must not be given for a map that was trained without labels; drop it.")
        return None
    given = list(range(len(classes))) if label is None else [label] if isinstance(label, int) else list(label)
    for value in given:
        if not 0 <= value < len(classes):
            raise ValueError(
                f"`label` must be a class between 0 and {len(classes) - 1} ({', '.join(classes[:10])}"
                f"{', ...' if len(classes) > 10 else ''}), got {value}; pass one of them."
            )
    if label is not None and len(given) not in (1, n):
        raise ValueError(f"`label` must be one class or {n} of them, one per sample, got {len(given)}.")
    return torch.tensor(given)[torch.arange(n) % len(given)]

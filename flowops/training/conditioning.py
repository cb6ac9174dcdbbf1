r"""Labels and guidance of samples of a learned map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from flowops._types import State, Times
from flowops.fields import VelocityField, guided
from flowops.maps import FlowMap, LearnedMap

if TYPE_CHECKING:
    from flowops.training.run import Run


@dataclass(frozen=True)
class Conditioning:
    r"""The map and the field of a network for given labels and a scale $w$ of classifier-free guidance.

    A network that was trained with a range of scales takes $w$ as an input: its map is the guided flow map. Of any
    other the field is $b_t(x;\varnothing)+w\,(b_t(x;c)-b_t(x;\varnothing))$, exactly, and the map
    $X_{s,t}(x;\varnothing)+w\,(X_{s,t}(x;c)-X_{s,t}(x;\varnothing))$, which has this field on its diagonal but is not
    the flow of it.

    Attributes:
        X: the learned map.
        labels: one per sample, or None.
        guidance: $w$, or None for no guidance.
        null: the label that stands for none.
        learned: whether the scale is an input of the network.
    """

    X: LearnedMap
    labels: Tensor | None
    guidance: float | None
    null: int
    learned: bool

    @classmethod
    def of(cls, run: Run, n: int, label: int | Sequence[int] | None, guidance: float | None) -> Conditioning:
        """Labels and guidance of `n` samples; without a label all classes in turn.

        Raises:
            ValueError: for a class out of range, the wrong number of them, or labels of a map that has none.
        """
        classes = run.classes
        if not classes:
            if label is not None or guidance is not None:
                name = "label" if label is not None else "guidance"
                raise ValueError(f"`{name}` must not be given for a map that was trained without labels; drop it.")
            return cls(run.X, None, None, 0, False)
        given = list(range(len(classes))) if label is None else [label] if isinstance(label, int) else list(label)
        for value in given:
            if not 0 <= value < len(classes):
                raise ValueError(
                    f"`label` must be a class between 0 and {len(classes) - 1} ({', '.join(classes[:10])}"
                    f"{', ...' if len(classes) > 10 else ''}), got {value}; pass one of them."
                )
        if label is not None and len(given) not in (1, n):
            raise ValueError(f"`label` must be one class or {n} of them, one per sample, got {len(given)}.")
        labels = torch.tensor(given, device=run.device)[torch.arange(n, device=run.device) % len(given)]
        return cls(run.X, labels, guidance, len(classes), run.guided)

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


class GuidedMap(FlowMap):
    r"""$X_{s,t}(x;\varnothing)+w\,(X_{s,t}(x;c)-X_{s,t}(x;\varnothing))$ of a map not trained with guidance."""

    _unconditioned: ClassVar[tuple[str, ...]] = ("unconditional",)

    def __init__(self, conditional: FlowMap, unconditional: FlowMap, scale: float) -> None:
        super().__init__()
        self.conditional, self.unconditional, self.scale = conditional, unconditional, scale

    def forward(self, s: Times, t: Times, x: State) -> State:
        plain = self.unconditional(s, t, x)
        return plain + self.scale * (self.conditional(s, t, x) - plain)

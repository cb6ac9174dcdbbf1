"""Class labels of networks, with one more class for a label that was dropped."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelEmbedding(nn.Module):
    """One vector per class, `[batch, width]`; the class after the last, `null_label`, stands for a dropped label."""

    def __init__(self, classes: int, width: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.null_label = classes
        self.vectors = nn.Parameter(torch.randn(classes + 1, width, generator=generator))

    def forward(self, label: Tensor | int | None, x: Tensor) -> Tensor:
        """The vectors of the labels `[batch]`, of one label for the whole batch, or of the null class for none."""
        if isinstance(label, int) and not 0 <= label <= self.null_label:
            raise self._outside(str(label))
        label = torch.as_tensor(self.null_label if label is None else label, device=x.device)
        if label.is_floating_point() or label.dtype is torch.bool:
            raise TypeError(
                f"`label` must be an integer class between 0 and {self.null_label}, got {label.dtype}; pass "
                f"label.long()."
            )
        if label.ndim and label.shape != x.shape[:1]:
            raise ValueError(
                f"`label` must be a class or have shape [batch] = [{x.shape[0]}], got {list(label.shape)}; pass one "
                f"label per sample."
            )
        try:  # the kernel of the CPU looks at the values anyway; on a GPU nothing waits for them
            return nn.functional.embedding(label.expand(x.shape[:1]), self.vectors)
        except IndexError:
            raise self._outside(f"values from {label.min()} to {label.max()}") from None

    def _outside(self, given: str) -> ValueError:
        return ValueError(
            f"`label` must be an integer class between 0 and {self.null_label}, got {given}; build the network with "
            f"more labels, or number the classes from zero ({self.null_label} stands for no label)."
        )

r"""A paired data set: aligned samples of both ends, such as reflow's $(x_0,X_{0,1}(x_0))$."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import check_like, check_state
from flowops._types import State
from flowops.couplings.coupling import Coupled, check_labels
from flowops.maps import FlowMap


@dataclass(frozen=True, eq=False, repr=False)
class Paired:
    r"""Aligned tensors of base samples, data samples and labels, to be drawn from row by row.

    `len(pairs)` is their number, `pairs[index]` the row, slice or rows of a tensor of indices, `pairs.sample(n)` draws.
    Together with `fm` it is rectified flow's second round (reflow), whose pairs `from_flow` computes.

    Args:
        x0: base samples, `[n, *event]`.
        x1: their partners, like `x0`.
        labels: conditions, `[n, ...]`, or None.

    Raises:
        TypeError, ValueError: for tensors that do not match.

    Source: Liu et al. 2209.03003.
    """

    x0: State
    x1: State
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        check_state(self.x0, "x0")
        check_like(self.x1, self.x0, "x1", "x0")
        check_labels(self.labels, self.x0, "labels")

    @classmethod
    def from_flow(cls, X: FlowMap, x0: Tensor, labels: Tensor | None = None, *, chunk: int = 4096) -> Paired:
        r"""The pairs $(x_0,X_{0,1}(x_0))$, computed without gradients, `chunk` rows at a time.

        Args:
            X: a flow map, learned or solved for.
            x0: base samples, `[n, *event]`.
            labels: passed on as `X.given(label=...)`, if given, and kept with the pairs.
            chunk: rows in memory at once.

        Raises:
            TypeError: if labels are given to a map that takes no `label`.
        """
        check_state(x0, "x0")
        check_labels(labels, x0, "labels")
        if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
            raise ValueError(f"`chunk` must be a number of rows of at least 1, got {chunk!r}.")
        ends = []
        with torch.no_grad():
            for start in range(0, len(x0), chunk):
                rows = slice(start, start + chunk)
                map_ = X if labels is None else X.given(label=labels[rows])
                ends.append(map_(0.0, 1.0, x0[rows]))
        return cls(x0.detach(), torch.cat(ends) if ends else x0.detach().clone(), labels)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Coupled:
        """`n` rows, drawn uniformly and independently.

        Raises:
            ValueError: unless `n` is positive and there are rows to draw from.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1 or not len(self):
            raise ValueError(
                f"`n` must be a positive number of draws from a set that is not empty, got {n!r} of {self}."
            )
        return self[torch.randint(len(self), (n,), generator=generator, device=self.x0.device)]

    def __len__(self) -> int:
        return len(self.x0)

    def __getitem__(self, index: int | slice | Tensor) -> Coupled:
        return Coupled(self.x0[index], self.x1[index], None if self.labels is None else self.labels[index])

    def __repr__(self) -> str:
        labelled = "" if self.labels is None else ", labelled"
        return f"Paired({len(self)} pairs of event {list(self.x0.shape[1:])}, {self.x0.dtype}{labelled})"

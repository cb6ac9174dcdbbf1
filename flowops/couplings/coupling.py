r"""What a coupling is: a choice of a partner $x_1$ for every $x_0$ of a batch, in which labels travel with $x_1$."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowops._arguments import check_labels, check_like, check_state, number
from flowops._types import State


class Coupled(NamedTuple):
    """Base samples `x0`, data samples `x1` and the labels of `x1` (or None), row by row."""

    x0: State
    x1: State
    labels: Tensor | None


class Samples(NamedTuple):
    """Two batches to be coupled, and their conditions."""

    x0: State
    x1: State
    labels: Tensor | None
    labels0: Tensor | None


class Coupling(ABC):
    """A way to pair the rows of a batch of base samples with those of a batch of data samples.

    A subclass says which row of `x1` each row of `x0` is paired with.
    """

    def __call__(
        self,
        x0: Tensor,
        x1: Tensor,
        labels: Tensor | None = None,
        *,
        labels0: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Coupled:
        """The pairs; `x0` keeps its order, `x1` and `labels` are taken from the same rows.

        Args:
            x0: base samples, `[batch, *event]`.
            x1: data samples, like `x0`.
            labels: conditions of `x1`, `[batch, ...]`.
            labels0: conditions of `x0`, like `labels`; used by a condition-aware cost only.
            generator: source of randomness, for the couplings that draw.

        Raises:
            TypeError, ValueError: for samples or labels that do not match.
        """
        check_state(x0, "x0")
        check_like(x1, x0, "x1", "x0")
        for name, value in (("labels", labels), ("labels0", labels0)):
            check_labels(value, x0, name)
        if (
            labels is not None
            and labels0 is not None
            and (labels.shape, labels.dtype) != (labels0.shape, labels0.dtype)
        ):
            raise ValueError(
                f"`labels0` must have the shape and dtype of `labels`, {list(labels.shape)} and {labels.dtype}, got "
                f"{list(labels0.shape)} and {labels0.dtype}."
            )
        rows = self.partners(Samples(x0, x1, labels, labels0), generator)
        return (
            Coupled(x0, x1, labels) if rows is None else Coupled(x0, x1[rows], None if labels is None else labels[rows])
        )

    @abstractmethod
    def partners(self, samples: Samples, generator: torch.Generator | None) -> Tensor | None:
        """The row of `x1` that goes with each row of `x0`, `[batch]`; None for the row of the same number."""


@dataclass(frozen=True)
class Independent(Coupling):
    r"""The product law $\rho_0\otimes\rho_1$: samples that were drawn independently are returned as they are.

    Shuffling them would change nothing in law. A batch whose rows belong together keeps them together.
    """

    def partners(self, samples: Samples, generator: torch.Generator | None) -> None:
        return None


@torch.no_grad()
def transport_cost(
    x0: State, x1: State, labels: Tensor | None, labels0: Tensor | None, condition_weight: float
) -> Tensor:
    r"""$C_{ij}=|x_0^i-x_1^j|^2+w\,d(c_0^i,c_1^j)$, `[batch, batch]`, in float32 or the dtype of the states if wider.

    $d$ is 1 where conditions of an integer or boolean dtype differ and 0 where they agree, and the squared distance of
    floating conditions.

    Raises:
        ValueError: for a positive weight without conditions on both sides.
    """
    wide = torch.promote_types(x0.dtype, torch.float32)
    cost = _squared_distances(x0.to(wide), x1.to(wide))
    if condition_weight == 0:
        return cost
    if labels is None or labels0 is None:
        missing = "labels" if labels is None else "labels0"
        raise ValueError(
            f"`{missing}` must be given, since condition_weight = {condition_weight} compares the conditions of both "
            f"sides, got None; for base samples drawn independently of the data pass labels0=labels."
        )
    if labels.is_floating_point():
        return cost + condition_weight * _squared_distances(labels0.to(wide), labels.to(wide))
    return cost + condition_weight * (_rows(labels0)[:, None] != _rows(labels)[None]).any(-1).to(wide)


def check_condition_weight(weight: float) -> None:
    """Refuse a negative weight."""
    if number(weight, "condition_weight") < 0:
        raise ValueError(f"`condition_weight` must not be negative, got {weight}; pass 0 to ignore conditions.")


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    a, b = _rows(a), _rows(b)
    center = b.mean(0)  # an offset common to both would cost digits in the expanded square
    return torch.cdist(a - center, b - center).square()


def _rows(values: Tensor) -> Tensor:
    return values.reshape(len(values), values.shape[1:].numel())

"""The plane in which states are shown: their own, or that in which they spread most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """An affine map from states to points.

    Attributes:
        names: of the two axes.
        centre: the state at the origin, `[d]`.
        directions: the axes, orthonormal, `[d, 2]`.
    """

    names: tuple[str, str]
    centre: Tensor
    directions: Tensor

    @classmethod
    def of(cls, states: Tensor) -> Plane:
        r"""That of states `[..., d]` with $d\ge2$; those that are not finite do not count."""
        flat = states.double().reshape(-1, states.shape[-1]).cpu()
        d = flat.shape[-1]
        if d == 2:
            return cls(("x₁", "x₂"), flat.new_zeros(2), torch.eye(2, dtype=torch.float64))
        flat = flat[flat.isfinite().all(1)]
        centre = flat.mean(0) if len(flat) else flat.new_zeros(d)
        _, _, directions = torch.linalg.svd(flat - centre, full_matrices=False)
        if len(directions) < 2:
            directions = torch.eye(d, dtype=torch.float64)
        return cls(("first direction", "second direction"), centre, directions[:2].mT)

    def __call__(self, states: Tensor) -> Tensor:
        """Points `[..., 2]` of states `[..., d]`."""
        return (states.double().cpu() - self.centre) @ self.directions


def flat(states: Tensor, leading: int) -> Tensor:
    """States of any shape as `[..., d]` with so many leading axes."""
    return states.detach().double().cpu().reshape(*states.shape[:leading], -1)

"""Covariances in every form a caller may give them, reduced to eigenvalues and, where needed, a rotation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Spectra(NamedTuple):
    """Eigenvalues `[1 or count, 1 or d, 1]`, and eigenvectors `[count, d, d]` in columns or None without rotations.

    An axis of length 1 says that all components, or all directions, share their values. The last axis broadcasts over
    the batch.
    """

    values: Tensor
    rotations: Tensor | None


def spectra(given: Tensor, count: int, size: int, name: str) -> Spectra:
    """Eigen-decompositions of `count` covariances of vectors of `size` coordinates.

    Args:
        given: `[count, size, size]`, diagonals `[count, size]`, isotropic variances `[count]`, or one variance
            for all.
        count: number of components.
        size: number of coordinates.
        name: name of the argument, for the errors.

    Raises:
        ValueError: for any other shape, and for covariances that are not symmetric or not positive definite.
    """
    if given.shape not in ((), (count,), (count, size), (count, size, size)):
        raise ValueError(
            f"`{name}` must be a variance or have shape [{count}], [{count}, {size}] or [{count}, {size}, {size}], "
            f"got {list(given.shape)}."
        )
    rotations = None
    values = given.expand(count, size) if given.ndim == 2 else given.expand(count)[:, None] if given.ndim < 2 else None
    if values is None:
        scale = given.abs().amax().item()
        if (given - given.mT).abs().amax().item() > 1e-6 * scale:
            raise ValueError(f"`{name}` must be symmetric, got one that is not; pass (C + C.mT) / 2.")
        values = given.diagonal(dim1=1, dim2=2)
        if not torch.equal(given, torch.diag_embed(values)):
            values, rotations = torch.linalg.eigh((given + given.mT) / 2)
    _check_positive(values, name)
    return Spectra(_shared(values)[..., None], rotations)


def _check_positive(values: Tensor, name: str) -> None:
    if bool((values.amin(1) <= 1e-15 * values.amax(1)).any()):
        raise ValueError(
            f"`{name}` must be positive definite, got a smallest eigenvalue of {values.amin().item():.4g}; for point "
            f"masses use flowops.problems.empirical."
        )


def _shared(values: Tensor) -> Tensor:
    """The eigenvalues with an axis of equal entries reduced to one entry."""
    for axis in (0, 1):
        first = values.narrow(axis, 0, 1)
        if torch.equal(values, first.expand_as(values)):
            values = first
    return values.clone()

"""Masks of dropout that several calls of a network share, and dropout at rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from flowops.networks.layers import Dropout


@contextmanager
def one_mask(module: nn.Module) -> Iterator[None]:
    """Inside it every call of a module has the masks of dropout of the first one.

    Calls must be of one batch size. Outside, and of a module in evaluation mode, nothing changes.

    >>> import torch
    >>> from flowops.networks.layers import Dropout
    >>> dropout, x = Dropout(0.5), torch.ones(100)
    >>> with one_mask(dropout):
    ...     same = torch.equal(dropout(x), dropout(x))
    >>> same, torch.equal(dropout(x), dropout(x))
    (True, False)

    Raises:
        ValueError: for a dropout that is none of `flowops.networks`, which keeps no mask.
    """
    dropouts = _active(module, "`one_mask` must be False", "whose masks cannot be held")
    try:
        for dropout in dropouts:
            dropout.held = []
        yield
    finally:
        for dropout in dropouts:
            dropout.held = None


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Inside it a module drops nothing, though it is in training mode.

    >>> import torch
    >>> from flowops.networks.layers import Dropout
    >>> dropout, x = Dropout(0.5), torch.ones(100)
    >>> with at_rest(dropout):
    ...     kept = torch.equal(dropout(x), x)
    >>> kept, torch.equal(dropout(x), x)
    (True, False)

    Raises:
        ValueError: for a dropout that is none of `flowops.networks`, which cannot be held.
    """
    dropouts = _active(module, '`dropout` must be "all"', "which cannot be held at rest")
    try:
        for dropout in dropouts:
            dropout.resting = True
        yield
    finally:
        for dropout in dropouts:
            dropout.resting = False


def _active(module: nn.Module, wanted: str, reason: str) -> list[Dropout]:
    """The dropouts of a module that drop something; others than ours are refused."""
    active = [m for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p]
    for other in active:
        if not isinstance(other, Dropout):
            raise ValueError(
                f"{wanted} for a network with {type(other).__name__}, {reason}; "
                f"take flowops.networks.layers.Dropout in its place, or set it to zero."
            )
    return [m for m in active if isinstance(m, Dropout)]

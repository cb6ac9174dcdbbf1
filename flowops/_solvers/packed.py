"""A state of several parts as one row of numbers a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._solvers.stepping import RightHandSide

System = Callable[..., tuple[Tensor, ...]]
"""`(tau, *parts) -> slopes`: the right-hand sides of every part of the state, each of shape `[batch, ...]`."""


class Packed:
    """The parts of a state side by side, `[batch, n]`, and the right-hand side of all of them."""

    def __init__(self, system: Callable[[Tensor | None], System], parts: tuple[Tensor, ...]) -> None:
        self.system = system
        self.events = [p.shape[1:] for p in parts]
        self.widths = [event.numel() for event in self.events]
        self.y = pack(parts)

    def unpack(self, y: Tensor) -> tuple[Tensor, ...]:
        """The parts of a state."""
        if len(self.events) == 1:
            return (y.reshape(len(y), *self.events[0]),)
        pieces = zip(y.split(self.widths, 1), self.events, strict=True)
        return tuple(z.reshape(len(y), *event) for z, event in pieces)

    def field(self, rows: Tensor | None) -> RightHandSide:
        """The right-hand side for these rows, all of them for None."""
        slopes = self.system(rows)
        if len(self.events) == 1 and len(self.events[0]) == 1:  # nothing to pack

            def packed(tau: Tensor, y: Tensor) -> Tensor:
                return slopes(tau, y)[0]
        else:

            def packed(tau: Tensor, y: Tensor) -> Tensor:
                return pack(slopes(tau, *self.unpack(y)))

        if rows is None:
            return packed

        def rhs(tau: Tensor, y: Tensor) -> Tensor:
            try:
                return packed(tau, y)
            except (RuntimeError, ValueError, IndexError) as error:
                error.add_note(
                    f"The field was asked for {len(y)} of the samples, as the others have arrived; what it holds for "
                    f"each sample must be a condition that is given to it, b.given(...)."
                )
                raise

        return rhs

    def within(self, piece: Tensor | None) -> Callable[[Tensor | None], RightHandSide]:
        """The right-hand side for rows of a piece of the batch."""
        if piece is None:
            return self.field
        return lambda rows: self.field(piece if rows is None else piece[rows])


def pack(parts: tuple[Tensor, ...]) -> Tensor:
    """All parts of the state side by side, `[batch, n]`."""
    flat = [p.reshape(p.shape[0], p.shape[1:].numel()) for p in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)

r"""The divergence $\nabla\!\cdot f$ of a batched function, exactly or by random probes, for any event shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._derivatives import DIRECTIONS
from flowops._types import PerSample, State


@dataclass(frozen=True)
class DivergenceEstimate:
    """A Hutchinson estimate.

    Attributes:
        value: mean over the probes, `[batch]`.
        standard_error: its standard error, `[batch]`; NaN for a single probe.
    """

    value: PerSample
    standard_error: PerSample


Push = Callable[[Tensor], Tensor]
r"""The directional derivative $u\mapsto\nabla f(x)\,u$ at a fixed batch of states."""


def exact_divergence(push: Push, x: State) -> PerSample:
    r"""Trace of $\nabla f(x)$, `[batch]`. Cost: one directional derivative per event coordinate."""
    event = x.shape[1:]
    size = event.numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *event)

    def entry(e: Tensor) -> Tensor:
        return inner(push(e.expand(x.shape)), e.expand(x.shape))

    return torch.func.vmap(entry, chunk_size=DIRECTIONS)(basis).sum(0)


def hutchinson_divergence(push: Push, x: State, *, n: int, generator: torch.Generator | None) -> DivergenceEstimate:
    r"""Mean of $e^\top\nabla f\,e$ over `n` Rademacher probes $e$, with its standard error."""
    probes = rademacher(x, n, generator)
    draws = torch.stack([inner(push(e), e) for e in probes])
    if n == 1:
        return DivergenceEstimate(draws[0], torch.full_like(draws[0], torch.nan))
    mean = draws.mean(0)
    variance = (draws - mean).square().sum(0) / (n - 1)
    return DivergenceEstimate(mean, (variance / n).sqrt())


def rademacher(x: State, n: int, generator: torch.Generator | None) -> Tensor:
    """`n` independent sign probes, `[n, batch, *event]`."""
    whole(n, "n", 1)
    signs = torch.randint(0, 2, (n, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
    return 2 * signs - 1


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Per-sample inner product over the event, `[batch]`."""
    return (a * b).reshape(a.shape[0], a.shape[1:].numel()).sum(1)

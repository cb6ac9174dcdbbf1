"""What the constructors of the reference problems accept; one sentence for everything else."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flowops._arguments import number, whole


def as_parameter(value: object, name: str) -> Tensor:
    """A number, array or tensor as a finite float64 tensor of its own.

    The parameters of a reference problem are kept in float64 and converted to the state's dtype at every call, so that
    a problem is exact in float64 and takes states of every dtype.
    """
    try:
        # NumPy reads Python numbers in float64, torch would round them to its default dtype first.
        result = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be a number, an array or a tensor, got {type(value).__name__}.") from error
    if result.is_complex() or result.dtype == torch.bool:
        raise TypeError(f"`{name}` must hold real numbers, got {result.dtype}; convert it to a floating dtype.")
    return finite(result.detach().to(torch.float64, copy=True), name)


def finite(value: Tensor, name: str) -> Tensor:
    """Refuse NaN and infinity."""
    if not bool(value.isfinite().all()):
        raise ValueError(
            f"`{name}` must be finite, got {int((~value.isfinite()).sum())} entries that are not; drop them."
        )
    return value


def positive(value: object, name: str) -> float:
    """A positive, finite number."""
    result = number(value, name)
    if result <= 0:
        raise ValueError(f"`{name}` must be positive, got {result}; pass a positive number.")
    return result


def as_weights(value: object | None, count: int, name: str = "weights") -> Tensor:
    """`count` probabilities, equal ones if not given; a sum that misses 1 by rounding only is corrected."""
    if value is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    weights = as_parameter(value, name)
    if weights.shape != (count,):
        raise ValueError(f"`{name}` must have shape [{count}], one per component, got {list(weights.shape)}.")
    if bool((weights < 0).any()):
        raise ValueError(f"`{name}` must not be negative, got a smallest entry of {weights.min().item():.4g}.")
    total = weights.sum().item()
    if abs(total - 1) > 1e-5:
        raise ValueError(f"`{name}` must sum to 1, got {total:.6g}; divide them by their sum.")
    return weights / total


def as_event(event: object) -> torch.Size:
    """An event shape, given as a sequence of non-negative integers."""
    sizes = tuple(event) if isinstance(event, (tuple, list)) else None
    if sizes is None:
        raise ValueError(f"`event` must be a tuple of positive sizes, got {event!r}; pass for example (3, 32, 32).")
    return torch.Size(whole(n, "event", 1) for n in sizes)


def check_event(x: Tensor, event: torch.Size) -> None:
    """Refuse states of another event shape than the problem's."""
    if x.shape[1:] != event:
        raise ValueError(
            f"`x` must have shape [batch, *event] with event {list(event)}, got {list(x.shape)}; reshape the states."
        )


def flatten(x: Tensor, size: int) -> Tensor:
    """The states as vectors of `size` coordinates, `[batch, size]`."""
    if x.shape[1:].numel() != size:
        raise ValueError(
            f"`x` must have events of {size} entries, got event shape {list(x.shape[1:])} with "
            f"{x.shape[1:].numel()}; pass states that fit the problem."
        )
    return x.reshape(x.shape[0], size)

"""Several processes that sample together: the rows of each, and what they tell each other.

Where torch has a process group, what is `shared` must be called by every process of it; one process alone needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")
FAULTS = (OSError, ValueError, TypeError, ImportError, RuntimeError)


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _grouped() else 1


def rank() -> int:
    """The number of this process among them."""
    return distributed.get_rank() if _grouped() else 0


def share(n: int) -> range:
    """The numbers below `n` that this process takes: a stretch of them, so that those of all are in order."""
    return range(n * rank() // ranks(), n * (rank() + 1) // ranks())


def collected(work: Callable[[], T]) -> list[T]:
    """What `work` gives on each process, on the first one; empty on the others. A fault of any is raised on all."""
    value, fault = _tried(work)
    if ranks() == 1:
        return [_held(value, fault)]
    faults: list[Any] = [None] * ranks()
    distributed.all_gather_object(faults, fault)
    if found := [each for each in faults if each is not None]:
        raise fault or found[0]
    values: list[Any] = [None] * ranks()
    distributed.gather_object(value, values if rank() == 0 else None)
    return values if rank() == 0 else []


def told(work: Callable[[], T]) -> T:
    """What `work` gives on the first process, on all of them; the others wait. Its fault is raised on all."""
    found: list[Any] = [_tried(work) if rank() == 0 else None]
    if ranks() > 1:
        distributed.broadcast_object_list(found)
    return _held(*found[0])


def on_first(work: Callable[[], T]) -> T | None:
    """What `work` gives on the first process, which need not travel; None on the others. Its fault is raised on all."""
    made: list[T] = []
    told(lambda: made.append(work()))
    return made[0] if made else None


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except FAULTS as fault:
        return None, fault


def _held(value: T | None, fault: Exception | None) -> T:
    if fault is not None:
        raise fault
    return value  # type: ignore[return-value]

"""The arguments that all data sets share."""

from __future__ import annotations


def check_draw(step: int, n: int) -> None:
    """Refuse steps and batch sizes that are none."""
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"`step` must be a whole number of at least 0, got {step!r}; count the steps from 0.")
    check_count(n)


def check_count(n: int) -> None:
    """Refuse a number of samples that is not positive."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"`n` must be a positive number of samples, got {n!r}; pass n=1 or more.")


def check_available(n: int, size: int, split: str, name: str) -> None:
    """Refuse to draw more different samples than there are."""
    check_count(n)
    if n > size:
        raise ValueError(
            f"`n` must be at most the {size} samples that {name} has in its split {split!r}, got {n}; pass n={size}."
        )

"""How the difference of two sides becomes one number per sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from flowops._arguments import number


class Norm(ABC):
    r"""A map of differences `[batch, *event]` to `[batch]`, zero at zero and positive elsewhere."""

    @abstractmethod
    def __call__(self, delta: Tensor) -> Tensor:
        """One number per sample."""


@dataclass(frozen=True)
class Squared(Norm):
    r"""$|\Delta|^2$, summed over the event: the only norm whose conditional minimizer is the conditional mean."""

    def __call__(self, delta: Tensor) -> Tensor:
        return delta.square().flatten(1).sum(1) if delta.ndim > 1 else delta.square()


@dataclass(frozen=True)
class PseudoHuber(Norm):
    r"""$\sqrt{|\Delta|^2+c^2}-c$, quadratic below $c$ and linear beyond; $c=0.00054\sqrt d$ if not given.

    Source: 2310.14189 (7) and §3.3.
    """

    c: float | None = None

    def __post_init__(self) -> None:
        if self.c is not None and number(self.c, "c") <= 0:
            raise ValueError(f"`c` must be positive, got {self.c}; pass None for 0.00054 sqrt(d).")

    def __call__(self, delta: Tensor) -> Tensor:
        c = 0.00054 * delta.shape[1:].numel() ** 0.5 if self.c is None else self.c
        return (Squared()(delta) + c**2).sqrt() - c


@dataclass(frozen=True)
class Lp(Norm):
    r"""$\sum_i|\Delta_i|^p$."""

    p: float = 1.0

    def __post_init__(self) -> None:
        if number(self.p, "p") < 1:
            raise ValueError(f"`p` must be at least 1, got {self.p}; below it the loss is not convex.")

    def __call__(self, delta: Tensor) -> Tensor:
        powers = delta.abs() ** self.p
        return powers.flatten(1).sum(1) if delta.ndim > 1 else powers


NAMED: dict[str, Norm] = {"squared": Squared(), "pseudo-huber": PseudoHuber(), "l1": Lp(1.0)}


def as_norm(value: str | Norm) -> Norm:
    """A norm, or one of `NAMED` by name."""
    if isinstance(value, Norm):
        return value
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    raise ValueError(f"`norm` must be a Norm or one of {', '.join(NAMED)}, got {value!r}; pass Lp(2.0), for instance.")

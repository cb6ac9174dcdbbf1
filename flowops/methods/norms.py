"""How the difference of two sides becomes one number per sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flowops._arguments import number
from flowops.methods.learned_features import NAME, LearnedFeatures


class Norm(ABC):
    r"""A map of differences `[batch, *event]` to `[batch]`, zero at zero and positive elsewhere.

    Attributes:
        of_sides: whether it looks at both sides instead, by its method `between(left, right)`.
    """

    of_sides: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, delta: Tensor) -> Tensor:
        """One number per sample."""

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """One number per sample for two sides."""
        return self(left - right)


@dataclass(frozen=True)
class Squared(Norm):
    r"""$|\Delta|^2$, summed over the event: the only norm whose conditional minimizer is the conditional mean."""

    def __call__(self, delta: Tensor) -> Tensor:
        return delta.square().flatten(1).sum(1) if delta.ndim > 1 else delta.square()


@dataclass(frozen=True)
class MeanSquared(Squared):
    r"""$|\Delta|^2/d$, the mean over the event: the scale in which some papers state their constants."""

    def __call__(self, delta: Tensor) -> Tensor:
        return super().__call__(delta) / delta.shape[1:].numel()


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


@dataclass(frozen=True)
class Perceptual(Norm):
    r"""$\sum_l\overline{|\hat\varphi_l(a)-\hat\varphi_l(b)|^2}$: how far apart two sides look to a network of yours.

    $\varphi_l(a)$ `[batch, channels, *positions]` are its features, $\hat\varphi_l$ those of unit length over the
    channels; the squares are summed over the channels and averaged over the positions. It is zero where the features
    agree, which those of two different states may do: a row that vanishes at the flow map may vanish elsewhere. On the
    diagonal of a row of two terms, where velocities are compared, the squared norm stays. LPIPS has learned weights of
    the channels besides, by whose roots features of unit length are scaled, with `unit=False`: `Perceptual("lpips")`.

    Args:
        network: of a state, giving a tensor or several, or "lpips" for the `LearnedFeatures` of that package. Nothing
            trains it, so that its parameters should not require gradients; it moves with the method.
        unit: whether features are brought to unit length; those of "lpips" are.

    Raises:
        ImportError: for "lpips" without that package; the message names the extra.

    Source: Zhang et al. 1801.03924 (1); consistency models take it as their metric, 2303.01469 §5.
    """

    of_sides: ClassVar[bool] = True
    network: Callable[[Tensor], Tensor | Sequence[Tensor]] | str
    unit: bool = True

    def __post_init__(self) -> None:
        if self.network == NAME:
            object.__setattr__(self, "network", LearnedFeatures())
            object.__setattr__(self, "unit", False)
        if not callable(self.network):
            raise TypeError(
                f'`network` must be a function of a state or "{NAME}", got {self.network!r}; pass a module.'
            )

    def __call__(self, delta: Tensor) -> Tensor:
        raise TypeError(
            "`norm` must be called with two sides where it compares features, got a difference; use between."
        )

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        pairs = zip(self._features(left), self._features(right), strict=True)
        total = torch.zeros(len(left), dtype=left.dtype, device=left.device)
        for a, b in pairs:
            total = total + (a - b).square().flatten(2).sum(1).mean(1).to(left.dtype)
        return total

    def _features(self, x: Tensor) -> list[Tensor]:
        found = self.network(x)  # type: ignore[operator]
        features = [found] if isinstance(found, Tensor) else list(found)
        features = [f.flatten(2) if f.ndim > 2 else f[..., None] for f in features]
        if not self.unit:
            return features
        return [f / (f.square().sum(1, keepdim=True) + 1e-10).sqrt() for f in features]


@dataclass(frozen=True)
class Laplace(Norm):
    r"""$1-k(\Delta)$ with the kernel $k(\Delta)=e^{-|\Delta|/(wd)}$, $w=$ `width`, of events of $d$ numbers.

    Between groups of samples its mean differences are the maximum mean discrepancy with that kernel. The length is
    constant below $10^{-6}$, so that its gradient is zero and not NaN where samples agree.

    Raises:
        ValueError: unless `width` is positive.

    Source: 2503.07565.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if number(self.width, "width") <= 0:
            raise ValueError(f"`width` must be positive, got {self.width}; pass the scale of the data's structure.")

    def __call__(self, delta: Tensor) -> Tensor:
        length = Squared()(delta).clamp(min=_SHORT**2).sqrt() - _SHORT
        return -(-length / (self.width * delta.shape[1:].numel())).expm1()


_SHORT = 1e-6

NAMED: dict[str, Norm] = {
    "squared": Squared(),
    "mean-squared": MeanSquared(),
    "pseudo-huber": PseudoHuber(),
    "l1": Lp(1.0),
    "laplace": Laplace(),
}


def as_norm(value: str | Norm) -> Norm:
    """A norm, or one of `NAMED` by name."""
    if isinstance(value, Norm):
        return value
    if value == NAME:
        return Perceptual(NAME)
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    raise ValueError(
        f"`norm` must be a Norm or one of {', '.join((*NAMED, NAME))}, got {value!r}; pass Lp(2.0), for instance."
    )

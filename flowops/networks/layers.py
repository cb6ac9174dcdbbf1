r"""What networks share: maps drawn from a generator, features of times and states, vectors of labels, their calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops._types import PerSample, State, Times

PERIODS: Final = 1e4  # the ratio of the highest to the lowest frequency of a positional embedding
EMBEDDINGS: Final = ("positional", "fourier")
Interval: TypeAlias = Tensor | tuple[float, float] | None
"""Of guidance: a pair of times, or one per sample, `[batch, 2]`."""


def where_drawn() -> torch.device:
    """The processor, where a seed draws the same on every machine, or nowhere where the default device is "meta"."""
    default = torch.get_default_device()
    return default if default.type == "meta" else torch.device("cpu")


def linear(inputs: int, outputs: int, generator: torch.Generator | None, scale: float = 1.0) -> nn.Linear:
    r"""A linear layer drawn from `generator`: entries uniform within `scale`$/\sqrt{\text{inputs}}$, or zero."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, device=where_drawn())
    _fill(layer, scale / math.sqrt(inputs), generator)
    return layer


def convolution(
    inputs: int, outputs: int, kernel: int, generator: torch.Generator | None, scale: float = 1.0
) -> nn.Conv2d:
    r"""A convolution that keeps the size of images, drawn like `linear`, with $\text{kernel}^2$ inputs per channel."""
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2, device=where_drawn())
    _fill(layer, scale / math.sqrt(inputs * kernel**2), generator)
    return layer


def _fill(layer: nn.Module, bound: float, generator: torch.Generator | None) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)


class Dropout(nn.modules.dropout._DropoutNd):
    r"""Dropout: $x\,m/(1-p)$ with $m=0$ at probability $p$, in training mode.

    The probability is a tensor, `rate`, so that a compiled graph can be held to the uncompiled one with dropout at
    rest: as a number it would be written into the graph. Where `held` is a list, its first mask is drawn and kept
    there, and every later call has that one (`one_mask`); while it is `resting` it drops nothing (`at_rest`).
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.register_buffer("rate", torch.tensor(float(p)), persistent=False)
        self.rate: Tensor
        self.held: list[Tensor] | None = None
        self.resting = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or self.resting:
            return x
        return x * self._mask(x) / (1 - self.rate).to(x.dtype)

    def _mask(self, x: Tensor) -> Tensor:
        if self.held:
            return self.held[0]
        kept = torch.rand_like(x, dtype=torch.float32) >= self.rate
        if self.held is not None:
            self.held.append(kept)
        return kept


class Fourier(nn.Module):
    r"""$z\mapsto(z,\ \sin\omega_1z,\dots,\sin\omega_kz,\ \cos\omega_1z,\dots,\cos\omega_kz)$ for fixed frequencies.

    Of columns `[batch, n]` it makes `[batch, n (2k + 1)]`. The frequencies bound how fast the features turn: their
    derivative along a unit direction is at most $\max(1,\omega_k)$.
    """

    def __init__(self, frequencies: Sequence[float]) -> None:
        super().__init__()
        values = [number(frequency, "frequencies") for frequency in frequencies]
        self.register_buffer("frequencies", torch.tensor(values))
        self.frequencies: Tensor

    def forward(self, z: Tensor) -> Tensor:
        if not len(self.frequencies):
            return z
        angles = (z[:, :, None] * self.frequencies.to(z.dtype)).flatten(1)
        return torch.cat([z, torch.sin(angles), torch.cos(angles)], 1)

    def multiple_of(self, size: int) -> int:
        """The number of features of `size` columns."""
        return size * (2 * len(self.frequencies) + 1)


class TimePair(nn.Module):
    r"""Features of $s$ and $t-s$: both times and $\sin,\cos$ of $\tfrac\pi2,\pi,\tfrac{3\pi}2,\dots$ times them.

    $t-s$ enters instead of $t$, so that the diagonal $t=s$ is one value of one feature. The frequencies stay small,
    since a derivative in time multiplies by them (2505.18825 §G).
    """

    def __init__(self, harmonics: int) -> None:
        super().__init__()
        self.fourier = Fourier([math.pi / 2 * k for k in range(1, harmonics + 1)])
        self.size = self.fourier.multiple_of(2)

    def forward(self, s: Times, t: Times) -> Tensor:
        return self.fourier(torch.stack([s, t - s], 1))


class Waves(nn.Module):
    r"""$z\mapsto\sqrt2\,\cos(\omega_kz-\varphi_k)$ of numbers `[batch]`, about `n` of them, of mean square about one.

    "positional": $\omega_k$ falls geometrically from `scale` to $10^{-4}$`scale`, each with a cosine and a sine; the
    root mean square of the derivative in $z$ is below `scale`. "fourier": $\omega_k$ is normal with deviation `scale`,
    $\varphi_k$ uniform; the root mean square of the derivative is about `scale`.
    """

    def __init__(self, n: int, kind: str, scale: float, generator: torch.Generator | None) -> None:
        super().__init__()
        self.kind = kind
        if kind == "positional":
            half = max(1, n // 2)
            frequencies = (scale * PERIODS ** (-torch.arange(half) / max(1, half - 1))).repeat(2)
            phases = torch.tensor([0.0, math.pi / 2]).repeat_interleave(half)
        else:
            frequencies = scale * torch.randn(n, generator=generator)
            phases = 2 * math.pi * torch.rand(n, generator=generator)
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", phases)
        self.frequencies: Tensor
        self.phases: Tensor

    def forward(self, z: Times) -> Tensor:
        angles = z[:, None] * self.frequencies.to(z.dtype) - self.phases.to(z.dtype)
        return math.sqrt(2) * torch.cos(angles)


class Embedded(nn.Module):
    """A vector of a number per sample, `[batch, width]`: waves, a linear map, and with two `layers` another one."""

    def __init__(
        self,
        waves: Waves,
        width: int,
        linear: Callable[[int, int, torch.Generator | None], nn.Module],
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.waves, self.activation = waves, activation
        self.inner = linear(len(waves.frequencies), width, generator)
        self.outer = linear(width, width, generator) if layers == 2 else None

    def forward(self, z: Times) -> Tensor:
        inner = self.inner(self.waves(z).to(self.inner.weight.dtype))
        return inner if self.outer is None else self.outer(self.activation(inner))


class LogDetHead(nn.Module):
    r"""The rate $D_{s,t}(x)$ of a logarithm of determinants from features `[batch, width]`, zero at initialization.

    It is $d$ times the output of a layer, $d$ the number of entries of an event: the logarithm is a sum over them.
    """

    def __init__(
        self,
        width: int,
        size: int,
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.size, self.activation = size, activation
        self.inner, self.outer = linear(width, width, generator), linear(width, 1, generator, scale=0.0)

    def forward(self, features: Tensor) -> Tensor:
        return self.size * self.outer(self.activation(self.inner(features)))[:, 0]


def guidance_scale(guidance: Tensor | float | None, x: Tensor) -> Times:
    """The scale per sample, `[batch]` in the dtype of the state or float32: one without guidance."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    w = _beside(x, 1.0 if guidance is None else guidance, dtype)
    if w.ndim and w.shape != x.shape[:1]:
        raise ValueError(
            f"`guidance` must be a number or have shape [batch] = [{x.shape[0]}], got {list(w.shape)}; pass one scale "
            f"per sample."
        )
    return w.expand(x.shape[:1])


def guidance_interval(interval: Interval, x: Tensor) -> Tensor:
    """The interval per sample, `[batch, 2]` in the dtype of the state or float32: (0, 1) if there is none."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if isinstance(interval, Tensor):
        if interval.shape != (x.shape[0], 2):
            raise ValueError(
                f"`interval` must be a pair of times or have shape [batch, 2] = [{x.shape[0]}, 2], got "
                f"{list(interval.shape)}; pass one row per sample."
            )
        return interval.to(x.device, dtype)
    low, high = (0.0, 1.0) if interval is None else interval
    return torch.stack([x.new_full(x.shape[:1], float(end), dtype=dtype) for end in (low, high)], 1)


class IntervalEmbedding(nn.Module):
    """One vector per interval of times `[batch, 2]`, `[batch, width]`: of how far its ends are from 0 and from 1."""

    def __init__(self, embedded: Callable[[], Embedded]) -> None:
        super().__init__()
        self.low, self.high = embedded(), embedded()

    def forward(self, interval: Tensor) -> Tensor:
        return self.low(interval[:, 0]) + self.high(1 - interval[:, 1])


def _beside(x: Tensor, value: Tensor | float | int, dtype: torch.dtype | None = None) -> Tensor:
    """A value as a tensor where `x` lies; a number is filled in there, since the host would wait for its copy."""
    if isinstance(value, int | float):
        return torch.full((), value, dtype=dtype, device=x.device)
    return torch.as_tensor(value, dtype=dtype, device=x.device)


class ConditionEmbedding(nn.Module):
    r"""A vector of a condition with values in $\mathbb R^{\text{shape}}$ per sample, `[batch, width]`: two linear maps.

    A condition that is not given, or is dropped, is `nan`, the `null_label` here, and has a learned vector of its own.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        linear: Callable[[int, int, torch.Generator | None], nn.Module],
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.shape, self.activation, self.null_label = torch.Size(shape), activation, math.nan
        if not len(self.shape) or not self.shape.numel():
            raise ValueError(
                f"`condition` must be the shape of a condition, such as (3,), got {tuple(shape)}; pass it."
            )
        self.inner = linear(self.shape.numel(), width, generator)
        self.outer = linear(width, width, generator)
        self.null = nn.Parameter(torch.randn(width, generator=generator))

    def forward(self, condition: Tensor | None, x: Tensor) -> Tensor:
        """The vectors of conditions `[batch, *shape]`, or of none."""
        if condition is None:
            return self.null.expand(x.shape[0], -1)
        if not isinstance(condition, Tensor) or not condition.is_floating_point():
            given = condition.dtype if isinstance(condition, Tensor) else type(condition).__name__
            raise TypeError(f"`condition` must be a floating tensor, got {given}; classes are given as `label`.")
        wanted = [x.shape[0], *self.shape]
        if list(condition.shape) != wanted:
            raise ValueError(
                f"`condition` must have shape {wanted}, one per sample, got {list(condition.shape)}; reshape it."
            )
        values = condition.to(self.null.dtype).reshape(x.shape[0], self.shape.numel())
        missing = values.isnan().any(1, keepdim=True)
        vectors = self.outer(self.activation(self.inner(values.nan_to_num(0.0))))
        return torch.where(missing, self.null, vectors)


class LabelEmbedding(nn.Module):
    """One vector per class, `[batch, width]`; the class after the last, `null_label`, stands for a dropped label."""

    def __init__(self, classes: int, width: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.null_label = classes
        self.vectors = nn.Parameter(torch.randn(classes + 1, width, generator=generator))

    def forward(self, label: Tensor | int | None, x: Tensor) -> Tensor:
        """The vectors of the labels `[batch]`, of one label for the whole batch, or of the null class for none."""
        if isinstance(label, int) and not 0 <= label <= self.null_label:
            raise self._outside(str(label))
        label = _beside(x, self.null_label if label is None else label)
        if label.is_floating_point() or label.dtype is torch.bool:
            raise TypeError(
                f"`label` must be an integer class between 0 and {self.null_label}, got {label.dtype}; pass "
                f"label.long()."
            )
        if label.ndim and label.shape != x.shape[:1]:
            raise ValueError(
                f"`label` must be a class or have shape [batch] = [{x.shape[0]}], got {list(label.shape)}; pass one "
                f"label per sample."
            )
        try:  # the kernel of the CPU looks at the values anyway; on a GPU nothing waits for them
            return nn.functional.embedding(label.expand(x.shape[:1]), self.vectors)
        except IndexError:
            raise self._outside(f"values from {label.min()} to {label.max()}") from None

    def _outside(self, given: str) -> ValueError:
        return ValueError(
            f"`label` must be an integer class between 0 and {self.null_label}, got {given}; build the network with "
            f"more labels, or number the classes from zero ({self.null_label} stands for no label)."
        )


class ConditionedNetwork(nn.Module):
    r"""A network $f_{s,t}(x)$ that is told conditions and may have a second output, as it is called.

    A subclass says what its last layer sees, by `_features` of the arguments of a call in their order, and what comes
    of it, by `_value`, `_rate` and `_second`.
    """

    log_det: nn.Module | None
    auxiliary: nn.Module | None

    def forward(
        self,
        s: Times,
        t: Times,
        x: State,
        label: Tensor | int | None = None,
        guidance: Tensor | float | None = None,
        interval: Interval = None,
        condition: Tensor | None = None,
    ) -> State:
        return self._value(self._features(s, t, x, label, guidance, interval, condition), x)

    def value_and_log_det_rate(
        self,
        s: Times,
        t: Times,
        x: State,
        label: Tensor | int | None = None,
        guidance: Tensor | float | None = None,
        interval: Interval = None,
        condition: Tensor | None = None,
    ) -> tuple[State, PerSample]:
        r"""The value and the rate $D_{s,t}(x)$, `[batch]`, of a network with `log_det=True`. Cost: one call."""
        if self.log_det is None:
            raise _without_log_det(self)
        features = self._features(s, t, x, label, guidance, interval, condition)
        return self._value(features, x), self._rate(features, x)

    def auxiliary_velocity(
        self,
        t: Times,
        x: State,
        label: Tensor | int | None = None,
        guidance: Tensor | float | None = None,
        interval: Interval = None,
        condition: Tensor | None = None,
    ) -> State:
        """The second output of a network with `auxiliary=True`, a velocity. Cost: one call, and at most a block."""
        if self.auxiliary is None:
            raise _without_auxiliary(self)
        return self._second(self._features(t, t, x, label, guidance, interval, condition), x)

    def _features(self, s: Times, t: Times, x: State, *conditions: Any) -> Any:
        raise NotImplementedError

    def _value(self, features: Any, x: State) -> State:
        raise NotImplementedError

    def _rate(self, features: Any, x: State) -> PerSample:
        raise NotImplementedError

    def _second(self, features: Any, x: State) -> State:
        raise NotImplementedError


def _without_auxiliary(network: nn.Module) -> Exception:
    """Why a network gives no velocity beside its value."""
    name = type(network).__name__
    return ValueError(f"`auxiliary` must be True for a second output, got False; build {name}(auxiliary=True).")


def _without_log_det(network: nn.Module) -> Exception:
    """Why a network gives no rate of a logarithm of determinants."""
    name = type(network).__name__
    return ValueError(f"`log_det` must be True for a rate of log-determinants, got False; build {name}(log_det=True).")

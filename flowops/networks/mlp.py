r"""A multilayer perceptron of two times and a state, for events of any shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops._arguments import whole
from flowops._types import PerSample, State, Times
from flowops.networks._checks import misfit
from flowops.networks.layers import (
    ConditionedNetwork,
    ConditionEmbedding,
    Embedded,
    Fourier,
    Interval,
    IntervalEmbedding,
    LabelEmbedding,
    LogDetHead,
    TimePair,
    Waves,
    guidance_interval,
    guidance_scale,
    linear,
)

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}


class MLP(ConditionedNetwork):
    r"""A network $f_{s,t}(x)$ of `depth` hidden layers over the flattened event, for `LearnedMap(MLP(...))`.

    It sees Fourier features of $x$ and of the times $s$ and $t-s$, and an embedding of the label, side by side. It is
    smooth (forward-mode derivatives of any order) and compiles into one graph.

    Args:
        event: shape of a state, or the number of its coordinates.
        width: units of a hidden layer.
        depth: number of hidden layers.
        activation: "gelu", "silu", or "tanh", the cheapest to differentiate without compilation.
        octaves: number of Fourier features $\pi,2\pi,4\pi,\dots$ of every coordinate of $x$; sharp edges of the data
            want four.
        frequencies: angular frequencies of these features, in place of octaves.
        harmonics: frequencies of the features of the two times.
        labels: number of classes $K$; labels are then $0,\dots,K-1$, and $K$ is the null class (a dropped label), which
            also stands for a label that is not given.
        guidance: whether the network takes a scale of guidance, one if not given.
        interval: whether it takes an interval of guidance, all times if not given.
        condition: shape of a condition with continuous values, given as `[batch, *shape]`; nan stands for none, as does
            one that is not given.
        log_det: whether it has a second output, the rate of a logarithm of determinants that a `LearnedJointMap` wants.
        auxiliary: whether it has a second output, a velocity of one time, with a hidden layer of its own.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: for a number that is not positive, an activation that is none of the three, a state of
            another shape or dtype, a label without `labels`, of another shape, or not of an integer dtype, and a scale
            or an interval of another shape, or that it was not built for.

    Cost of a call: `depth + 1` matrix products. Source of the design: 2505.18825 §G.1.
    """

    def __init__(
        self,
        event: int | Sequence[int] = 2,
        *,
        width: int = 256,
        depth: int = 4,
        activation: str = "gelu",
        octaves: int = 0,
        frequencies: Sequence[float] = (),
        harmonics: int = 4,
        labels: int | None = None,
        guidance: bool = False,
        interval: bool = False,
        condition: Sequence[int] | None = None,
        log_det: bool = False,
        auxiliary: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f'`activation` must be one of {", ".join(ACTIVATIONS)}, got "{activation}"; pass "gelu".')
        self.event = torch.Size([event] if isinstance(event, int) else event)
        size = whole(self.event.numel(), "event")
        self.activation = activation
        taken = {"label": labels is not None, "guidance": guidance, "interval": interval}
        taken["condition"] = condition is not None
        self.accepted_conditions = tuple(name for name, own in taken.items() if own)
        if whole(octaves, "octaves", 0) and frequencies:
            raise ValueError(f"`octaves` must be 0 beside `frequencies`, got {octaves}; pass one of the two.")
        octave = [math.pi * 2**k for k in range(octaves)]
        self.state, self.times = Fourier(frequencies or octave), TimePair(whole(harmonics, "harmonics"))
        self.label = None if labels is None else LabelEmbedding(whole(labels, "labels"), width, generator)
        widths = [
            self.state.multiple_of(size) + self.times.size,
            *[whole(width, "width")] * whole(depth, "depth"),
        ]
        self.hidden = nn.ModuleList(linear(a, b, generator) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.last = linear(width, size, generator)

        def embedded() -> Embedded:
            return Embedded(Waves(32, "positional", 1.0, generator), width, linear, ACTIVATIONS[activation], generator)

        self.guidance = embedded() if guidance else None
        self.interval = IntervalEmbedding(embedded) if interval else None
        self.condition = None
        if condition is not None:
            self.condition = ConditionEmbedding(condition, width, linear, ACTIVATIONS[activation], generator)
        self.log_det = LogDetHead(width, size, ACTIVATIONS[activation], generator) if log_det else None
        layers = (linear(width, width, generator), linear(width, size, generator)) if auxiliary else ()
        self.auxiliary = nn.ModuleList(layers) if auxiliary else None

    def _value(self, features: Tensor, x: State) -> State:
        return self.last(features).reshape(x.shape)

    def _rate(self, features: Tensor, x: State) -> PerSample:
        assert self.log_det is not None
        rate: PerSample = self.log_det(features)
        return rate

    def _second(self, features: Tensor, x: State) -> State:
        assert isinstance(self.auxiliary, nn.ModuleList)
        inner, outer = self.auxiliary
        second: State = outer(ACTIVATIONS[self.activation](inner(features))).reshape(x.shape)
        return second

    def _features(
        self,
        s: Times,
        t: Times,
        x: State,
        label: Tensor | int | None,
        guidance: Tensor | float | None,
        interval: Interval,
        condition: Tensor | None,
    ) -> Tensor:
        """What the last layer sees, `[batch, width]`."""
        dtype = self.last.weight.dtype
        wrong = "label" if label is not None and self.label is None else ""
        wrong = "guidance" if guidance is not None and self.guidance is None else wrong
        wrong = "interval" if interval is not None and self.interval is None else wrong
        wrong = "condition" if condition is not None and self.condition is None else wrong
        if wrong or x.shape[1:] != self.event or (x.dtype != dtype and not torch.is_autocast_enabled(x.device.type)):
            raise misfit(self, self.event, dtype, x, wrong)
        activation = ACTIVATIONS[self.activation]
        flat = x.reshape(x.shape[0], self.event.numel())
        features = [self.state(flat) if len(self.state.frequencies) else flat, self.times(s, t).to(x.dtype)]
        h = self.hidden[0](torch.cat(features, 1))
        if self.label is not None:
            h = h + self.label(label, x)
        if self.guidance is not None:
            h = h + self.guidance(guidance_scale(guidance, x) - 1)
        if self.interval is not None:
            h = h + self.interval(guidance_interval(interval, x))
        if self.condition is not None:
            h = h + self.condition(condition, x)
        for layer in self.hidden[1:]:
            h = layer(activation(h))
        return activation(h)

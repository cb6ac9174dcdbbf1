r"""A multilayer perceptron of two times and a state, for events of any shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops._types import State, Times
from flowops.networks._checks import check_call
from flowops.networks._features import Fourier, TimePair
from flowops.networks._labels import LabelEmbedding
from flowops.networks._layers import linear, positive
from flowops.networks._waves import Embedded, Waves, guidance_scale

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}


class MLP(nn.Module):
    r"""A network $f_{s,t}(x)$ of `depth` hidden layers over the flattened event, for `LearnedMap(MLP(...))`.

    It sees Fourier features of $x$ and of the times $s$ and $t-s$, and an embedding of the label, side by side. It is
    smooth (forward-mode derivatives of any order) and compiles into one graph.

    Args:
        event: shape of a state, or the number of its coordinates.
        width: units of a hidden layer.
        depth: number of hidden layers.
        activation: "gelu", "silu", or "tanh", the cheapest to differentiate without compilation.
        frequencies: angular frequencies of the Fourier features of every coordinate of $x$; none by default. Sharp
            edges of the data want several octaves, such as `[math.pi * 2**k for k in range(4)]`.
        harmonics: frequencies of the features of the two times.
        labels: number of classes $K$; labels are then $0,\dots,K-1$, and $K$ is the null class (a dropped label), which
            also stands for a label that is not given.
        guidance: whether the network takes a scale of guidance, one if not given.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: for a number that is not positive, an activation that is none of the three, a state of
            another shape or dtype, a label without `labels`, of another shape, or not of an integer dtype, and a scale
            without `guidance` or of another shape.

    Cost of a call: `depth + 1` matrix products. Source of the design: 2505.18825 §G.1.
    """

    def __init__(
        self,
        event: int | Sequence[int] = 2,
        *,
        width: int = 256,
        depth: int = 4,
        activation: str = "gelu",
        frequencies: Sequence[float] = (),
        harmonics: int = 4,
        labels: int | None = None,
        guidance: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f'`activation` must be one of {", ".join(ACTIVATIONS)}, got "{activation}"; pass "gelu".')
        self.event = torch.Size([event] if isinstance(event, int) else event)
        size = positive(self.event.numel(), "event")
        self.activation = activation
        self.state, self.times = Fourier(frequencies), TimePair(positive(harmonics, "harmonics"))
        self.label = None if labels is None else LabelEmbedding(positive(labels, "labels"), width, generator)
        widths = [
            self.state.multiple_of(size) + self.times.size,
            *[positive(width, "width")] * positive(depth, "depth"),
        ]
        self.hidden = nn.ModuleList(linear(a, b, generator) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.last = linear(width, size, generator)
        self.guidance = None
        if guidance:
            waves = Waves(32, "positional", 1.0, generator)
            self.guidance = Embedded(waves, width, linear, ACTIVATIONS[activation], generator)

    def forward(
        self,
        s: Times,
        t: Times,
        x: State,
        label: Tensor | int | None = None,
        guidance: Tensor | float | None = None,
    ) -> State:
        check_call(self, self.event, self.last.weight, self, x, label, guidance)
        activation = ACTIVATIONS[self.activation]
        features = [self.state(x.reshape(x.shape[0], self.event.numel())), self.times(s, t).to(x.dtype)]
        h = self.hidden[0](torch.cat(features, 1))
        if self.label is not None:
            h = h + self.label(label, x)
        if self.guidance is not None:
            h = h + self.guidance(guidance_scale(guidance, x) - 1)
        for layer in self.hidden[1:]:
            h = layer(activation(h))
        return self.last(activation(h)).reshape(x.shape)

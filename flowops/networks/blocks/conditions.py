r"""The conditions of an image network: a vector of $s$, $t-s$, label or condition, scale and interval."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowops._types import Times
from flowops.networks.blocks.style import Gain, Style
from flowops.networks.layers import (
    ConditionEmbedding,
    Embedded,
    Interval,
    IntervalEmbedding,
    LabelEmbedding,
    Waves,
    guidance_interval,
    guidance_scale,
)


class Conditions(nn.Module):
    r"""$\mathrm{silu}\big(e(s)+g\,d(t-s)+\ell(\text{label})+g'\,w(\text{scale}-1)+g''\,i(\text{interval})\big)$.

    `[batch, width]`, with the parts for which it was built.

    On the diagonal $d(0)$ is one constant vector, so that $v_{t,t}$ is read where the network depends on $s$ alone.
    With the gains $g=g'=g''=0$ neither $t$ nor guidance is seen (`load_diagonal`). Everything here is computed in the
    dtype of the parameters, also under autocast: times do not survive bfloat16.
    """

    def __init__(
        self,
        features: int,
        width: int,
        style: Style,
        *,
        labels: int | None,
        guidance: bool,
        interval: bool,
        condition: Sequence[int] | None,
        embedding: str,
        time_scale: float,
        one_time: bool,
        layers: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.style = style

        def embedded(scale: float) -> Embedded:
            waves = Waves(features, embedding, scale, generator)
            return Embedded(waves, width, style.linear, style.activation, generator, layers)

        self.time = embedded(time_scale)
        self.label = None if labels is None else LabelEmbedding(labels, width, generator)
        self.difference = None if one_time else embedded(time_scale)
        self.difference_gain: Gain = 0.0 if one_time else nn.Parameter(torch.ones(()))
        self.guidance = embedded(1.0) if guidance else None
        self.guidance_gain: Gain = nn.Parameter(torch.ones(())) if guidance else 0.0
        self.interval = IntervalEmbedding(lambda: embedded(1.0)) if interval else None
        self.interval_gain: Gain = nn.Parameter(torch.ones(())) if interval else 0.0
        self.condition = None
        if condition is not None:
            self.condition = ConditionEmbedding(condition, width, style.linear, style.activation, generator)

    def untaken(
        self,
        label: Tensor | int | None,
        guidance: Tensor | float | None,
        interval: Interval,
        condition: Tensor | None = None,
    ) -> str:
        """The name of a condition that is given and was not built, the last one, or nothing."""
        wrong = "label" if label is not None and self.label is None else ""
        wrong = "guidance" if guidance is not None and self.guidance is None else wrong
        wrong = "interval" if interval is not None and self.interval is None else wrong
        return "condition" if condition is not None and self.condition is None else wrong

    def forward(
        self,
        s: Times,
        t: Times,
        x: Tensor,
        label: Tensor | int | None,
        guidance: Tensor | float | None,
        interval: Interval = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            terms: list[tuple[Gain, Tensor]] = [(1.0, self.time(s))]
            if self.difference is not None:
                terms.append((self.difference_gain, self.difference(t - s)))
            if self.label is not None:
                terms.append((1.0, self.style.vectors(self.label(label, x))))
            if self.guidance is not None:
                terms.append((self.guidance_gain, self.guidance(guidance_scale(guidance, x) - 1)))
            if self.interval is not None:
                terms.append((self.interval_gain, self.interval(guidance_interval(interval, x))))
            if self.condition is not None:
                terms.append((1.0, self.style.vectors(self.condition(condition, x))))
            return self.style.activation(self.style.total(terms))

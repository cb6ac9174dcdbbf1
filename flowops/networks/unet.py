r"""A U-Net of two times and an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowops._arguments import number, whole
from flowops._types import PerSample, State, Times
from flowops.networks._checks import (
    check_normalization,
    check_options,
    misfit,
)
from flowops.networks.blocks.conditions import Conditions
from flowops.networks.blocks.preserving import force
from flowops.networks.blocks.style import PLAIN, PRESERVING, Style
from flowops.networks.layers import ConditionedNetwork, Interval, LogDetHead


class UNet(ConditionedNetwork):
    r"""A network $f_{s,t}(x)$ of images `[batch, channels, height, width]`, for `LearnedMap(UNet(...))`.

    Residual blocks at falling and then at rising resolution, joined across; every block is scaled and shifted by a
    vector of $s$, $t-s$, the label and the guidance. The result is zero at initialization, so that the map starts
    as the identity. It is smooth, samples do not interact, and it compiles into one graph inside a forward derivative.

    Args:
        event: shape of a state, `(channels, height, width)`; the sizes are divisible by two per down-sampling.
        channels: channels at full resolution.
        multipliers: channels of every resolution in units of `channels`; each is half the size of the one before.
        blocks: residual blocks per resolution on the way down; there is one more on the way up.
        attention: sizes (the larger of height and width) at which blocks attend over all pixels; the middle attends as
            well unless this is empty.
        heads_width: channels per attention head; fewer channels than that make one head.
        labels: number of classes $K$; $K$ itself is the null class, which also stands for a label that is not given.
        dropout: probability within blocks, in training mode only; it is drawn from torch's global generator.
        guidance: whether the network takes a scale of guidance, one if not given.
        interval: whether it takes an interval of guidance, all times if not given.
        condition: shape of a condition with continuous values, given as `[batch, *shape]`; nan stands for none, as does
            one that is not given.
        log_det: whether it has a second output, the rate of a logarithm of determinants that a `LearnedJointMap` wants,
            of the mean over the pixels of what the last convolution sees.
        auxiliary: whether it has a second output, a velocity of one time, with a residual block of its own.
        embedding: "positional" or "fourier" features of $s$, $t-s$, the scale and the interval.
        time_scale: highest angular frequency of the positional features of times, or deviation of the "fourier" ones.
            Derivatives in time grow with it, and with them the targets of every method that takes one.
        embedding_layers: one or two linear maps behind the features of each number.
        conditions_width: width of the vector of the conditions; four times `channels` if left out.
        magnitude_preserving: weights normalized in the forward pass, no biases and no group normalization (EDM2).
        forced_normalization: whether these weights are also stored normalized, at the start and by `after_update`
            behind every step of a training, so that they do not grow and the rate means the same throughout (EDM2 G).
        one_time: leave $t$ out, $f_s(x)$: the network of a velocity field, which is
            `LearnedMap(UNet(one_time=True)).velocity()`. `load_diagonal` makes a two-time network of it.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: for options that make no network, a state of another shape or dtype, and labels, scales
            and intervals that the network does not take or that fit no batch.

    Cost of a call: 0.4 G multiply-adds per 32x32 image (0.03 G for 8x8) and 1.9 M parameters with the defaults.
    Source of the design: 2206.00364 (blocks), 2312.02696 (magnitudes), 2505.18825 G.2 (times, and the settings
    `channels=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), heads_width=64, dropout=0.13, time_scale=1.0,
    embedding_layers=1, conditions_width=256, magnitude_preserving=True, forced_normalization=True` for CIFAR-10).
    """

    def __init__(
        self,
        event: Sequence[int] = (3, 32, 32),
        *,
        channels: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (8,),
        heads_width: int = 32,
        labels: int | None = None,
        dropout: float = 0.0,
        guidance: bool = False,
        interval: bool = False,
        condition: Sequence[int] | None = None,
        log_det: bool = False,
        auxiliary: bool = False,
        embedding: str = "positional",
        time_scale: float = 8.0,
        embedding_layers: int = 2,
        conditions_width: int | None = None,
        magnitude_preserving: bool = False,
        forced_normalization: bool = False,
        one_time: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.event = torch.Size(event)
        check_options(self.event, multipliers, dropout, embedding, number(time_scale, "time_scale"))
        self.one_time = one_time
        taken = {"label": labels is not None, "guidance": guidance, "interval": interval}
        taken["condition"] = condition is not None
        self.accepted_conditions = tuple(name for name, own in taken.items() if own)
        self.style = PRESERVING if magnitude_preserving else PLAIN
        width = 4 * whole(channels, "channels")
        if conditions_width is not None:
            width = whole(conditions_width, "conditions_width")
        check_normalization(embedding_layers, magnitude_preserving, forced_normalization)
        self.conditions = Conditions(
            channels,
            width,
            self.style,
            labels=None if labels is None else whole(labels, "labels"),
            guidance=guidance,
            interval=interval,
            condition=condition,
            embedding=embedding,
            time_scale=float(time_scale),
            one_time=one_time,
            layers=embedding_layers,
            generator=generator,
        )
        plan = Plan(self.style, width, tuple(attention), whole(heads_width, "heads_width"), dropout, generator)
        widths = [channels * whole(multiplier, "multipliers") for multiplier in multipliers]
        self._build(widths, whole(blocks, "blocks"), plan)
        head = LogDetHead(widths[0], self.event.numel(), self.style.activation, generator) if log_det else None
        self.log_det = head
        self.auxiliary = AuxiliaryHead(plan, widths[0], self.event[0]) if auxiliary else None
        if forced_normalization:
            force(self)

    def _build(self, widths: list[int], blocks: int, plan: Plan) -> None:
        image, size = self.event[0], max(self.event[1:])
        self.first = plan.style.first(image, widths[0], plan.generator)
        down, up, skips, now = [], [], [widths[0]], widths[0]
        for level, outputs in enumerate(widths):
            if level:
                size //= 2
                down.append(plan.block(now, now, change=-1))
                skips.append(now)
            for _ in range(blocks):
                down.append(plan.block(now, outputs, size))
                skips.append(outputs)
                now = outputs
        self.middle = nn.ModuleList(
            [plan.block(now, now, size, middle=True, decoder=True), plan.block(now, now, decoder=True)]
        )
        for level, outputs in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                up.append(plan.block(now + skips.pop(), outputs, size, decoder=True))
                now = outputs
            if level:
                up.append(plan.block(now, now, change=1, decoder=True))
                size *= 2
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.last = plan.style.last(now, image, plan.generator)

    def _value(self, features: tuple[Tensor, Tensor], x: State) -> State:
        return self.last(features[0]).to(x.dtype)

    def _rate(self, features: tuple[Tensor, Tensor], x: State) -> PerSample:
        assert self.log_det is not None
        rate: PerSample = self.log_det(features[0].mean((2, 3))).to(x.dtype)
        return rate

    def _second(self, features: tuple[Tensor, Tensor], x: State) -> State:
        assert self.auxiliary is not None
        second: State = self.auxiliary(*features).to(x.dtype)
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
    ) -> tuple[Tensor, Tensor]:
        """What the last convolution sees, `[batch, channels, height, width]`, and the vector of the conditions."""
        dtype = next(self.parameters()).dtype
        wrong = self.conditions.untaken(label, guidance, interval, condition)
        if wrong or x.shape[1:] != self.event or (x.dtype != dtype and not torch.is_autocast_enabled(x.device.type)):
            raise misfit(self, self.event, dtype, x, wrong)
        c = self.conditions(s, t, x, label, guidance, interval, condition)
        h = self.first(x)
        skipped = [h]
        for block in self.down:
            h = block(h, c)
            skipped.append(h)
        for block in self.middle:
            h = block(h, c)
        for block in self.up:
            h = block(h if block.change else self.style.joined(h, skipped.pop()), c)
        return h, c


class AuxiliaryHead(nn.Module):
    """A residual block and a last convolution, beside those of the network."""

    def __init__(self, plan: Plan, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = plan.block(inputs, inputs, decoder=True)
        self.last = plan.style.last(inputs, outputs, plan.generator)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        return self.last(self.block(h, c))


class Plan:
    """How the blocks of a network are built."""

    def __init__(
        self,
        style: Style,
        width: int,
        attention: tuple[int, ...],
        heads_width: int,
        dropout: float,
        generator: torch.Generator | None,
    ) -> None:
        self.style, self.width, self.dropout, self.generator = style, width, dropout, generator
        self.attention, self.heads_width = attention, heads_width

    def block(
        self, inputs: int, outputs: int, size: int = 0, *, change: int = 0, middle: bool = False, decoder: bool = False
    ) -> nn.Module:
        """The next block, for images of `size`; blocks that resample do not attend."""
        heads = self._heads(outputs) if size in self.attention or (middle and self.attention) else 0
        return self.style.block(
            inputs,
            outputs,
            self.width,
            self.generator,
            change=change,
            heads=heads,
            dropout=self.dropout,
            decoder=decoder,
        )

    def _heads(self, channels: int) -> int:
        heads = max(1, channels // self.heads_width)
        if channels % heads:
            raise ValueError(
                f"`heads_width` must divide the channels that attend, {channels}, got {self.heads_width}; pass "
                f"heads_width={channels // heads} or one that divides them."
            )
        return heads

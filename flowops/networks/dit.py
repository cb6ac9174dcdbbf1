r"""A transformer of two times and an image or a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowops._arguments import number, whole
from flowops._types import PerSample, State, Times
from flowops.networks._checks import check_common, misfit
from flowops.networks.blocks.conditions import Conditions
from flowops.networks.blocks.patches import Patches
from flowops.networks.blocks.style import PLAIN
from flowops.networks.blocks.tokens import Block, Last
from flowops.networks.layers import ConditionedNetwork, Interval, LogDetHead, linear


class DiT(ConditionedNetwork):
    r"""A diffusion transformer $f_{s,t}(x)$ of images or sequences, for `LearnedMap(DiT(...))`.

    An image `[batch, channels, height, width]` is cut into squares, a sequence `[batch, length, channels]` into pieces,
    each a row of `width` numbers to which its place is added. Blocks attend over all rows; every block is scaled,
    shifted and gated by the vector of $s$, $t-s$, the label and the guidance that the `UNet` has. The result is zero at
    initialization, so that the map starts as the identity. It is smooth, samples do not interact, and it compiles into
    one graph inside a forward derivative: the attention is written out, since fused kernels have none.

    Args:
        event: shape of a state, `(channels, height, width)` or `(length, channels)`.
        patch: side of a square or steps of a piece; it divides the sizes.
        width: numbers of a row; a multiple of 4 for images, of 2 for sequences.
        depth: number of blocks.
        heads: attention heads; they divide the width.
        mlp_ratio: hidden units of the perceptron of a block in units of `width`.
        qk_norm: whether queries and keys are scaled to mean square one, which bounds the weights of the attention.
        labels: number of classes $K$; $K$ itself is the null class, which also stands for a label that is not given.
        dropout: probability within the perceptrons, in training mode only; it is drawn from torch's global generator.
        guidance: whether the network takes a scale of guidance, one if not given.
        interval: whether it takes an interval of guidance, all times if not given.
        condition: shape of a condition with continuous values, given as `[batch, *shape]`; nan stands for none, as does
            one that is not given.
        log_det: whether it has a second output, the rate of a logarithm of determinants that a `LearnedJointMap` wants,
            of the mean over the rows of what the last layer sees.
        auxiliary: whether it has a second output, a velocity of one time, with a block of its own.
        embedding: "positional" or "fourier" features of $s$, $t-s$, the scale and the interval.
        features: number of features of each of these.
        time_scale: highest angular frequency of the positional features of times, or deviation of the "fourier" ones.
            Derivatives in time grow with it, and with them the targets of every method that takes one.
        one_time: leave $t$ out, $f_s(x)$: the network of a velocity field, which is
            `LearnedMap(DiT(one_time=True)).velocity()`. `load_diagonal` makes a two-time network of it.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: for options that make no network, a state of another shape or dtype, and labels, scales
            and intervals that the network does not take or that fit no batch.

    Cost of a call: with $n$ rows, $12\,\text{width}^2n+2\,\text{width}\,n^2$ multiply-adds a block; 0.4 G per 32x32
    image and 1.9 M parameters with the defaults. Source: Peebles & Xie 2212.09748 (the blocks and their conditions);
    Ma et al. 2401.08740 (as a velocity field, whose weights `load_dit` takes); 2302.05442 and 2503.09641 (`qk_norm`).
    """

    def __init__(
        self,
        event: Sequence[int] = (3, 32, 32),
        *,
        patch: int = 2,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: int = 4,
        qk_norm: bool = False,
        labels: int | None = None,
        dropout: float = 0.0,
        guidance: bool = False,
        interval: bool = False,
        condition: Sequence[int] | None = None,
        log_det: bool = False,
        auxiliary: bool = False,
        embedding: str = "positional",
        features: int = 256,
        time_scale: float = 8.0,
        one_time: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_common(dropout, embedding, number(time_scale, "time_scale"))
        self.event, self.one_time, self.qk_norm = torch.Size(event), one_time, qk_norm
        self.patches = Patches(tuple(event), whole(patch, "patch"))
        if whole(width, "width") % whole(heads, "heads"):
            raise ValueError(f"`heads` must divide the width, {width}, got {heads}; pass a number that does.")
        taken = {"label": labels is not None, "guidance": guidance, "interval": interval}
        taken["condition"] = condition is not None
        self.accepted_conditions = tuple(name for name, own in taken.items() if own)
        self.conditions = Conditions(
            whole(features, "features"),
            width,
            PLAIN,
            labels=None if labels is None else whole(labels, "labels"),
            guidance=guidance,
            interval=interval,
            condition=condition,
            embedding=embedding,
            time_scale=float(time_scale),
            one_time=one_time,
            layers=2,
            generator=generator,
        )
        self.register_buffer("places", self.patches.places(width))
        self.places: Tensor
        self.first = linear(self.patches.size, width, generator)
        hidden = whole(mlp_ratio, "mlp_ratio") * width

        def block() -> Block:
            return Block(width, heads, hidden, generator, normalize=qk_norm, dropout=dropout)

        self.blocks = nn.ModuleList(block() for _ in range(whole(depth, "depth")))
        self.last = Last(width, self.patches.size, generator)
        size = self.event.numel()
        self.log_det = LogDetHead(width, size, PLAIN.activation, generator) if log_det else None
        heads_of_two = [block(), Last(width, self.patches.size, generator)] if auxiliary else []
        self.auxiliary = nn.ModuleList(heads_of_two) if auxiliary else None

    def _value(self, features: tuple[Tensor, Tensor], x: State) -> State:
        return self.patches.joined(self.last(*features)).to(x.dtype)

    def _rate(self, features: tuple[Tensor, Tensor], x: State) -> PerSample:
        assert self.log_det is not None
        rate: PerSample = self.log_det(features[0].mean(1)).to(x.dtype)
        return rate

    def _second(self, features: tuple[Tensor, Tensor], x: State) -> State:
        assert isinstance(self.auxiliary, nn.ModuleList)
        block, last = self.auxiliary
        h, c = features
        return self.patches.joined(last(block(h, c), c)).to(x.dtype)

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
        """What the last layer sees, `[batch, rows, width]`, and the vector of the conditions."""
        dtype = self.first.weight.dtype
        wrong = self.conditions.untaken(label, guidance, interval, condition)
        if wrong or x.shape[1:] != self.event or (x.dtype != dtype and not torch.is_autocast_enabled(x.device.type)):
            raise misfit(self, self.event, dtype, x, wrong)
        c = self.conditions(s, t, x, label, guidance, interval, condition)
        h = self.first(self.patches.cut(x)) + self.places.to(x.dtype)
        for block in self.blocks:
            h = block(h, c)
        return h, c

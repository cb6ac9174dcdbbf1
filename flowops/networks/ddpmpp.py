r"""DDPM++, the U-Net of EDM for 32 x 32 images, under the names that its published weights have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowops._arguments import number, whole
from flowops._types import State, Times
from flowops.interpolants import Interpolant
from flowops.networks._checks import check_weights, misfit
from flowops.networks.blocks.plain import GroupNorm
from flowops.networks.layers import Dropout, where_drawn

NOISE = (1e-3, 1e5)  # where a formula of the noise level is read; what lies beyond is taken as these
HALF = math.sqrt(0.5)  # every sum of two is divided by the root of two


class DDPMpp(nn.Module):
    r"""A network $f_{s,t}(x)$ of images `[batch, channels, height, width]`, of one or of two times.

    Its parameters are called as those of `SongUNet` in the code of EDM, so that published weights fit; see
    `load_edm`. The numbers that it is told are

    * with `noise_level`, a formula of $\sigma$ in `t`: $\tfrac14\log\sigma_s$ alone, whatever $t$ is, as EDM and the
      consistency models that start from it have it; behind `EDMPreconditioning` the network then is EDM's on any
      schedule with $\alpha_s/\beta_s=\sigma_s$;
    * without: $1-s$ and $t-s$, as MeanFlow has them, each in features of its own, side by side.

    Args:
        event: shape of a state, `(channels, height, width)`.
        channels: channels of the first layer.
        multipliers: channels of every resolution in units of `channels`; each is half the size of the one before.
        blocks: residual blocks per resolution on the way down; there is one more on the way up.
        attention: sizes at which blocks attend over all pixels, on the way up the last one alone.
        dropout: probability within blocks, in training mode only.
        noise_level: $\sigma$ as a formula in `t`, such as "(1-t)/t"; None for a network of two times.
        augment: number of labels of an augmentation that it takes as the condition `augment`, 0 for none.
        resample: taps of the filter of resampling, (1, 1) or (1, 3, 3, 1).
        features: features of each number, in units of `channels`.
        labels, guidance, interval, log_det, auxiliary, one_time: refused; a network with `noise_level` has one time.
        generator: where the initial parameters are drawn from.

    Raises:
        TypeError, ValueError: for options that make no network, and states and conditions that do not fit it.

    Cost of a call: 21 G multiply-adds per 32x32 image and 55.7 M parameters with the defaults. Source: Song et al.
    2011.13456; Karras et al. 2206.00364 App. F.2 and its code; Geng et al. 2505.13447 for two times.
    """

    def __init__(
        self,
        event: Sequence[int] = (3, 32, 32),
        *,
        channels: int = 128,
        multipliers: Sequence[int] = (2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (16,),
        dropout: float = 0.0,
        noise_level: str | None = None,
        augment: int = 0,
        resample: Sequence[int] = (1, 1),
        features: int = 1,
        labels: int | None = None,
        guidance: bool = False,
        interval: bool = False,
        log_det: bool = False,
        auxiliary: bool = False,
        one_time: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        wanted = {"labels": labels is not None, "guidance": guidance, "interval": interval, "log_det": log_det}
        _refuse({**wanted, "auxiliary": auxiliary, "one_time": one_time})
        self.event, self.accepted_conditions = torch.Size(event), ("augment",) * bool(augment)
        self.one_time = noise_level is not None
        step = 2 ** (len(multipliers) - 1)
        if len(self.event) != 3 or self.event[1] % step or self.event[2] % step:
            raise ValueError(
                f"`event` must be (channels, height, width) with sizes divisible by {step}, got {tuple(event)}; pass "
                f"fewer `multipliers`, or pad the images."
            )
        if not 0 <= number(dropout, "dropout") < 1:
            raise ValueError(f"`dropout` must be a probability below one, got {dropout}; pass 0.2, say.")
        self.noise = None if noise_level is None else Interpolant.from_expressions(noise_level, "1", name="noise level")
        width = whole(features, "features") * whole(channels, "channels")
        inputs = width if self.one_time else 2 * width
        exponents = torch.arange(width // 2) / max(1, width // 2 - 1)
        self.register_buffer("frequencies", 1e-4**exponents, persistent=False)
        self.frequencies: Tensor
        self.map_augment = _linear(augment, inputs, generator, bias=False) if augment else None
        self.map_layer0 = _linear(inputs, 4 * channels, generator)
        self.map_layer1 = _linear(4 * channels, 4 * channels, generator)
        self._build(
            channels, multipliers, whole(blocks, "blocks"), tuple(attention), dropout, tuple(resample), generator
        )

    def _build(
        self,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: tuple[int, ...],
        dropout: float,
        taps: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> None:
        image, side, now, skips = self.event[0], max(self.event[1:]), channels, list[int]()

        def block(inputs: int, outputs: int, attends: bool = False, change: int = 0) -> Block:
            skipped.append(outputs)
            return Block(inputs, outputs, 4 * channels, attends, dropout, change, taps, generator)

        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        skipped = skips
        for level, multiplier in enumerate(multipliers):
            size, outputs = side >> level, channels * whole(multiplier, "multipliers")
            if level:
                self.enc[f"{size}x{size}_down"] = block(now, now, change=-1)
            else:
                self.enc[f"{size}x{size}_conv"] = Conv(image, channels, 3, generator)
                skips.append(channels)
            for k in range(blocks):
                self.enc[f"{size}x{size}_block{k}"] = block(now, outputs, size in attention)
                now = outputs
        skipped = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            size, outputs = side >> level, channels * multiplier
            if level == len(multipliers) - 1:
                self.dec[f"{size}x{size}_in0"] = block(now, now, attends=True)
                self.dec[f"{size}x{size}_in1"] = block(now, now)
            else:
                self.dec[f"{size}x{size}_up"] = block(now, now, change=1)
            for k in range(blocks + 1):
                attends = k == blocks and size in attention
                self.dec[f"{size}x{size}_block{k}"] = block(now + skips.pop(), outputs, attends)
                now = outputs
        self.dec[f"{side}x{side}_aux_norm"] = GroupNorm(now, 1e-6)
        self.dec[f"{side}x{side}_aux_conv"] = Conv(now, image, 3, generator, scale=1e-5)

    def forward(self, s: Times, t: Times, x: State, augment: Tensor | None = None) -> State:
        dtype = self.map_layer0.weight.dtype
        wrong = "augment" if augment is not None and self.map_augment is None else ""
        if wrong or x.shape[1:] != self.event or (x.dtype != dtype and not torch.is_autocast_enabled(x.device.type)):
            raise misfit(self, self.event, dtype, x, wrong)
        with torch.autocast(x.device.type, enabled=False):
            c = torch.cat([self._features(z, dtype) for z in self._told(s, t)], 1)
            if augment is not None and self.map_augment is not None:
                c = c + self.map_augment(augment.to(dtype))
            c = F.silu(self.map_layer1(F.silu(self.map_layer0(c))))
        skipped, h = list[Tensor](), x
        for block in self.enc.values():
            h = block(h, c) if isinstance(block, Block) else block(h)
            skipped.append(h)
        *blocks, norm, last = self.dec.values()
        for block in blocks:
            h = block(h if h.shape[1] == block.inputs else torch.cat([h, skipped.pop()], 1), c)
        return last(F.silu(norm(h))).to(x.dtype)

    def _told(self, s: Times, t: Times) -> tuple[Tensor, ...]:
        """The numbers that it is told."""
        if self.noise is None:
            return 1 - s, t - s
        return (self.noise.alpha(s).clamp(*NOISE).log() / 4,)

    def _features(self, z: Times, dtype: torch.dtype) -> Tensor:
        angles = z.to(dtype)[:, None] * self.frequencies.to(dtype)
        return torch.cat([torch.sin(angles), torch.cos(angles)], 1)


class Block(nn.Module):
    """A residual block with the conditions `c` as a shift, resampled on entry where `change` is -1 or 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        attends: bool,
        dropout: float,
        change: int,
        taps: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.norm0, self.norm1 = GroupNorm(inputs, 1e-6), GroupNorm(outputs, 1e-6)
        self.conv0 = Conv(inputs, outputs, 3, generator, change=change, taps=taps)
        self.affine, self.dropout = _linear(width, outputs, generator), Dropout(dropout)
        self.conv1 = Conv(outputs, outputs, 3, generator, scale=1e-5)
        self.skip = None
        if change or inputs != outputs:
            self.skip = Conv(inputs, outputs, 1, generator, change=change, taps=taps)
        self.norm2 = GroupNorm(outputs, 1e-6) if attends else None
        self.qkv = Conv(outputs, 3 * outputs, 1, generator, scale=math.sqrt(0.2)) if attends else None
        self.proj = Conv(outputs, outputs, 1, generator, scale=1e-5) if attends else None

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        y = self.conv0(F.silu(self.norm0(x)))
        y = F.silu(self.norm1(y + self.affine(c)[:, :, None, None].to(y.dtype)))
        y = self.conv1(self.dropout(y))
        x = HALF * (y + (x if self.skip is None else self.skip(x)))
        return x if self.qkv is None else HALF * (x + self._attended(x))

    def _attended(self, x: Tensor) -> Tensor:
        """One head over all pixels, written out; q, k and v of a channel stand side by side."""
        assert self.norm2 is not None
        assert self.qkv is not None
        assert self.proj is not None
        q, k, v = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (-1, 3)).unbind(2)
        scores = (q.transpose(1, 2) @ (k / math.sqrt(k.shape[1]))).to(torch.promote_types(x.dtype, torch.float32))
        a: Tensor = v @ torch.softmax(scores, 2).to(v.dtype).transpose(1, 2)
        return self.proj(a.reshape(x.shape))


class Conv(nn.Module):
    """A convolution of the size that it is given, after a resampling where `change` is -1 (half) or 1 (double)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        generator: torch.Generator | None,
        *,
        scale: float = 1.0,
        change: int = 0,
        taps: tuple[int, ...] = (1, 1),
    ) -> None:
        super().__init__()
        self.change, self.padding = change, kernel // 2
        bound = scale * math.sqrt(6 / (kernel**2 * (inputs + outputs)))  # uniform, after Glorot and Bengio
        shape = (outputs, inputs, kernel, kernel)
        self.weight = nn.Parameter(bound * (2 * torch.rand(shape, generator=generator) - 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        f = torch.tensor([float(tap) for tap in taps])
        self.register_buffer("taps", f[:, None] * f / f.sum() ** 2, persistent=False)
        self.taps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.change:
            f, channels = self.taps.to(x.dtype), x.shape[1]
            pad, f = (len(f) - 1) // 2, f.expand(channels, 1, *f.shape)
            resampled = F.conv_transpose2d if self.change > 0 else F.conv2d
            x = resampled(x, 4 * f if self.change > 0 else f, stride=2, padding=pad, groups=channels)
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


def load_edm(network: DDPMpp, weights: Mapping[str, Tensor]) -> None:
    """Give a network the weights of EDM's own of the same shape, such as its published ones for CIFAR-10.

    Args:
        network: built with the options of the pretrained one, and `noise_level`.
        weights: the state dict of its `EDMPrecond` or `SongUNet`; the prefix `model.` and the filters of resampling are
            ignored, and so are the labels of an augmentation that `network` does not take: without one they are zero.

    Raises:
        TypeError: if `network` is no `DDPMpp`.
        ValueError: if names are missing, unknown or of another shape, or a value is not finite; nothing is loaded then.
    """
    if not isinstance(network, DDPMpp):
        raise TypeError(f"`network` must be a DDPMpp, got {type(network).__name__}; build DDPMpp(noise_level=...).")
    own, given = network.state_dict(), dict[str, Tensor]()
    for name, value in weights.items():
        bare = name.removeprefix("model.")
        if not bare.endswith("resample_filter") and (bare != "map_augment.weight" or bare in own):
            given[bare] = value
    check_weights(own, given, "an EDM network")
    network.load_state_dict({name: value.to(own[name].dtype) for name, value in given.items()})


def _linear(inputs: int, outputs: int, generator: torch.Generator | None, bias: bool = True) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias, device=where_drawn())
    with torch.no_grad():
        bound = math.sqrt(6 / (inputs + outputs))
        layer.weight.uniform_(-bound, bound, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def _refuse(wanted: Mapping[str, bool]) -> None:
    """What this network cannot be built with."""
    for name, asked in wanted.items():
        if asked:
            raise ValueError(
                f"`{name}` must be left out for ddpmpp, which is unconditional, of one output, and of one time with "
                f"noise_level; take unet, or pass labels=False to the training."
            )

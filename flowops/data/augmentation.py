r"""Augmentation that does not leak: images are moved, and the network is told how, so that at zero it has the data."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flowops._arguments import number
from flowops._keys import generator, rows_of
from flowops.data.rows import moved

LABELS = 6
"""Of each image: mirrored or not, the size, two of the stretch, two of the shift."""
SIZE, STRETCH, SHIFT = 0.2, 0.2, 0.125
"""Deviations of the binary logarithms of size and stretch, and of the shift in units of the side."""
TURNED = 0.5  # how often a stretch is along another axis than those of the image
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
"""Low-pass filter of the least asymmetric wavelet of Daubechies with six vanishing moments."""
PAD = len(SYM6) // 4  # pixels that the filter reaches beyond an image


class Augmentation:
    r"""Images mirrored, and with probability $p$ each scaled, stretched along an axis and shifted, with labels of it.

    An image is mirrored with probability one half, its size is $2^{0.2w_1}$, it is stretched by $2^{0.2w_2}$ along an
    axis (of the image, or at every other time of any direction $r$) and by the inverse across, and shifted by
    $0.125(w_3,w_4)$ of its side, $w$ standard normal. The labels of an image are
    $(m,\ w_1,\ w_2\cos r,\ w_2\sin r,\ w_3,\ w_4)$, all zero for an image as it is, which is what a sampler asks for.
    (They do not tell a stretch along $r$ from its inverse along $r+\pi$: nothing but the zero is asked for.)

    Images are moved on a grid twice as fine, made by a wavelet filter from the image continued by its mirror, and
    brought back by the same filter. Images that are only mirrored keep their bits.

    Args:
        p: probability $p$ of each of the three movements.

    Raises:
        ValueError: unless $0\le p\le1$.

    Source: Karras et al. 2206.00364 App. F.2, with the transformations that Geng et al. 2505.13447 keep for CIFAR-10:
    no rotations, and no reflections up and down.
    """

    def __init__(self, p: float) -> None:
        self.p = number(p, "p")
        if not 0 <= self.p <= 1:
            raise ValueError(f"`p` must be a probability, got {p}; pass 0.12, say.")

    def __call__(self, x: Tensor, seed: int, step: int, part: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor]:
        r"""The images of a step `[n, channels, height, width]`, moved, and their labels `[n, 6]`.

        With `part` $=(k,W)$ they are the rows $k,k+W,\dots$ of a joint batch. What is drawn follows from the seed and
        the step alone.

        Cost: where an image is moved, that of ten convolutions of twelve taps on four times its pixels, mirrored edges
        included.
        """
        w, labels = self._drawn(part[1] * len(x), seed, step)
        own = rows_of(part[1] * len(x), part)
        w, labels = w[own], labels[own]
        mirrored = moved(labels[:, 0] > 0, x.device)[:, None, None, None]
        x = torch.where(mirrored, x.flip(-1), x)
        still = labels[:, 1:].eq(0).all(1)
        rows = (~still).nonzero()[:, 0]  # on the host, which so knows how many there are
        if len(rows):
            there = moved(rows, x.device)
            x = x.index_copy(0, there, warped(x[there], _backwards(w[rows], x.shape[-2:])))
        return x, moved(labels.to(x.dtype), x.device)

    def _drawn(self, n: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """What is drawn for each image: size, stretch, its direction, two shifts; and the labels."""
        source = generator("augmentation", seed, step)
        normal = torch.randn(n, 4, generator=source, dtype=torch.float64)
        chances = torch.rand(n, 5, generator=source, dtype=torch.float64)
        angle = math.pi * (2 * torch.rand(n, generator=source, dtype=torch.float64) - 1)
        kept = chances[:, :3] < self.p
        size, stretch = normal[:, 0] * kept[:, 0], normal[:, 1] * kept[:, 1]
        angle = torch.where(chances[:, 3] < TURNED, angle, 0.0)
        shift = normal[:, 2:] * kept[:, 2:]
        mirrored = (chances[:, 4] < 0.5).double()
        labels = torch.stack([mirrored, size, stretch * angle.cos(), stretch * angle.sin(), *shift.unbind(1)], 1)
        return torch.stack([size, stretch, angle, *shift.unbind(1)], 1), labels


def _backwards(w: Tensor, sides: torch.Size) -> Tensor:
    """The maps `[n, 2, 3]` from places in the moved images to places in the images, in pixels from the centre."""
    size, stretch, angle, *shift = w.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, sin, -sin, cos], 1).reshape(-1, 2, 2)
    factors = torch.stack([2 ** (-STRETCH * stretch), 2 ** (STRETCH * stretch)], 1)
    linear = (2 ** (-SIZE * size))[:, None, None] * (turn * factors[:, None]) @ turn.transpose(1, 2)
    height, width = sides
    offset = torch.stack([-SHIFT * width * shift[0], -SHIFT * height * shift[1]], 1)
    return torch.cat([linear, linear @ offset[:, :, None]], 2)


def warped(x: Tensor, backwards: Tensor) -> Tensor:
    """The images `[n, channels, height, width]` read at `backwards`, maps of places as of `_backwards`, on the CPU."""
    height, width = x.shape[-2:]
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    corners = torch.tensor([[-1, -1, 1, 1], [-1, 1, -1, 1]], dtype=torch.float64) * (half[:, None] + 2 * PAD)
    reach = (backwards[:, :, :2] @ corners + backwards[:, :, 2:]).abs().amax((0, 2)) - half
    right, below = (
        int(min(max(math.ceil(far), 0), side - 1)) for far, side in zip(reach, (width, height), strict=True)
    )
    fine = _doubled(F.pad(x, [right, right, below, below], mode="reflect"))
    # fine pixel j lies at (j + 1/2) / 2 of the padded image, and the filter moves what is in it by a quarter of a pixel
    across, down = (torch.arange(2 * (side + 2 * PAD), device=x.device, dtype=x.dtype) for side in (width, height))
    places = [(values + 0.5) / 2 - len(values) / 4 + 0.25 for values in (across, down)]
    plane = torch.meshgrid(*places, indexing="xy")
    grid = torch.stack([*plane, torch.ones_like(plane[0])], 2)
    where = torch.einsum("hwj,nij->nhwi", grid, moved(backwards.to(x.dtype), x.device)) - 0.25
    extent = _there(x, (width / 2 + right, height / 2 + below))
    read = F.grid_sample(fine, where / extent, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _halved(read)


def _doubled(x: Tensor) -> Tensor:
    """Twice as many pixels along both axes, by the filter."""
    taps = _there(x, SYM6[::-1])
    for axis in (3, 2):
        spread = torch.stack([x, torch.zeros_like(x)], axis + 1).flatten(axis, axis + 1)
        x = _filtered(spread.narrow(axis, 0, 2 * x.shape[axis] - 1), taps, axis, (len(taps) + 1) // 2, 1)
    return x


def _halved(x: Tensor) -> Tensor:
    """Half as many pixels along both axes, by the filter, without those that it reached beyond the image."""
    taps = _there(x, SYM6)
    for axis in (3, 2):
        x = _filtered(x, taps, axis, (len(taps) - 1) // 2, 2)
        x = x.narrow(axis, PAD, x.shape[axis] - 2 * PAD)
    return x


def _there(x: Tensor, values: tuple[float, ...]) -> Tensor:
    """Numbers where the images are; the host does not wait for their copy."""
    return moved(torch.tensor(values, dtype=x.dtype), x.device)


def _filtered(x: Tensor, taps: Tensor, axis: int, padding: int, stride: int) -> Tensor:
    shape, pads, strides = [1, 1], [0, 0], [1, 1]
    shape[axis - 2], pads[axis - 2], strides[axis - 2] = len(taps), padding, stride
    kernel = taps.reshape(1, 1, *shape).expand(x.shape[1], 1, *shape)
    return F.conv2d(x, kernel, padding=pads, stride=strides, groups=x.shape[1])

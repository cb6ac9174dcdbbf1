"""Features of images, by a fixed protocol: bytes go in, and a name says what was done to them.

Distances of features differ by more between two ways to prepare the images than between two models. Therefore a
image is uint8 `[n, channels, height, width]` here, whatever made it; an extractor does everything else (scaling,
resizing, its weights), and whatever changes its features changes its name. Statistics of different names, or of
different versions of the protocol, are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from flowops._arguments import whole

PROTOCOL: Final = 1  # uint8 images, features without TF32, moments in float64, covariance with 1/(n-1)


@dataclass(frozen=True)
class Extractor:
    """A function from uint8 images `[n, channels, height, width]` to floating features `[n, dimension]`.

    Args:
        name: says which features these are; other weights or another preparation need another name.
        function: the features of a batch, each row a function of its image alone.
        dimension: features per image; None if it follows from the size of the images.
        note: where it comes from, one line.
        device: where the function wants the images, which are brought there.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    dimension: int | None = None
    note: str = ""
    device: torch.device | str = "cpu"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The features of one batch, computed without TF32, where the function leaves them.

        Those of Apple's GPU come to the CPU, since it has no float64.

        Raises:
            TypeError, ValueError: for anything but uint8 images, and for a function that returns no features.
        """
        check_images(images)
        with _full_precision():
            features = self.function(images.to(self.device))
        if not (isinstance(features, Tensor) and features.is_floating_point()):
            kind = features.dtype if isinstance(features, Tensor) else type(features).__name__
            raise TypeError(f"Extractor {self.name!r} must return a floating tensor, got {kind}; mend its function.")
        if features.ndim != 2 or len(features) != len(images) or self.dimension not in (None, features.shape[1]):
            raise ValueError(
                f"Extractor {self.name!r} must return shape [{len(images)}, {self.dimension or 'd'}], got "
                f"{list(features.shape)}; mend its function or its dimension."
            )
        return features.cpu() if features.device.type == "mps" else features

    def features(self, images: Tensor | Iterable[Tensor], *, chunk: int = 500) -> Tensor:
        """The features of all images, `[n, dimension]`, `chunk` of them at a time.

        Raises:
            TypeError, ValueError: as for a call, and without any image.
        """
        found = [self(part) for part in chunks(images, chunk)]
        if not found:
            raise ValueError("`images` must not be empty, got no image; pass some.")
        return torch.cat(found)


def check_images(images: Tensor) -> None:
    """Refuse anything but uint8 images `[n, channels, height, width]`."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"`images` must be a uint8 tensor, got {kind}; convert states in [-1, 1] with flowops.data.to_uint8."
        )
    if images.ndim != 4:
        raise ValueError(f"`images` must have shape [n, channels, height, width], got {list(images.shape)}.")


def chunks(images: Tensor | Iterable[Tensor], chunk: int) -> Iterator[Tensor]:
    """Batches of at most `chunk` images of a tensor, or of a stream of tensors."""
    whole(chunk, "chunk", 1)
    for part in [images] if isinstance(images, Tensor) else images:
        check_images(part)
        yield from part.split(chunk) if len(part) else ()


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions and products in float32: TF32 rounds factors to 11 bits, so features would depend on the GPU."""
    cudnn: Any = torch.backends.cudnn  # its types lack what follows
    convolutions = cudnn.conv
    before = convolutions.fp32_precision, torch.get_float32_matmul_precision()
    convolutions.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        convolutions.fp32_precision = before[0]
        torch.set_float32_matmul_precision(before[1])

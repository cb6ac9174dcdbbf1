"""Features of pictures, by a fixed protocol: bytes go in, and a name says what was done to them.

Distances of features differ by more between two ways to prepare the pictures than between two models. Therefore a
picture is uint8 `[n, channels, height, width]` here, whatever made it; an extractor does everything else (scaling,
resizing, its weights), and whatever changes its features changes its name. Statistics of different names, or of
different versions of the protocol, are not compared.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

PROTOCOL: Final = 1  # uint8 pictures, features without TF32, moments in float64, covariance with 1/(n-1)


@dataclass(frozen=True)
class Extractor:
    """A function from uint8 pictures `[n, channels, height, width]` to floating features `[n, dimension]`.

    Args:
        name: says which features these are; other weights or another preparation need another name.
        function: the features of a batch, each row a function of its picture alone.
        dimension: features per picture; None if it follows from the size of the pictures.
        note: where it comes from, one line.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    dimension: int | None = None
    note: str = ""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The features of one batch, computed without TF32.

        Raises:
            TypeError, ValueError: for anything but uint8 pictures, and for a function that returns no features.
        """
        check_images(images)
        with _full_precision():
            features = self.function(images)
        if not (isinstance(features, Tensor) and features.is_floating_point()):
            kind = features.dtype if isinstance(features, Tensor) else type(features).__name__
            raise TypeError(f"Extractor {self.name!r} must return a floating tensor, got {kind}; mend its function.")
        if features.ndim != 2 or len(features) != len(images) or self.dimension not in (None, features.shape[1]):
            raise ValueError(
                f"Extractor {self.name!r} must return shape [{len(images)}, {self.dimension or 'd'}], got "
                f"{list(features.shape)}; mend its function or its dimension."
            )
        return features

    def features(self, images: Tensor | Iterable[Tensor], *, chunk: int = 500) -> Tensor:
        """The features of all pictures, `[n, dimension]`, `chunk` of them at a time.

        Raises:
            TypeError, ValueError: as for a call, and without any picture.
        """
        found = [self(part) for part in chunks(images, chunk)]
        if not found:
            raise ValueError("`images` must not be empty, got no picture; pass some.")
        return torch.cat(found)


def open_extractor(name: str, weights: Path | str | None = None, *, device: torch.device | str = "cpu") -> Extractor:
    """The extractor of that name.

    * `pixels`: the bytes themselves divided by 255, in float64; exact, without weights, for small pictures.
    * `classifier:FILE`: the layer before the last of a classifier that `save_classifier` wrote.
    * `inception`: the 2048 features of the Inception network of the FID; its published weights are needed.
    * `package.module:factory`: what your own function without arguments returns.

    Args:
        name: one of these.
        weights: file of the weights of `inception`.
        device: where a network runs.

    Raises:
        ValueError: for another name.
        TypeError: for a factory that returns no `Extractor`.
        OSError: if a file cannot be read.
        ImportError: if a package is missing.
    """
    if weights is not None and name != "inception":
        raise ValueError(f"`weights` must be left out for {name!r}, got {str(weights)!r}; only `inception` takes it.")
    kind, colon, rest = name.partition(":")
    if name == "pixels":
        return Extractor("pixels", _pixels, note="bytes / 255")
    if name == "inception":
        from flowops.metrics.inception import inception_extractor

        return inception_extractor(weights, device=device)
    if kind == "classifier" and rest:
        from flowops.metrics.classifier import classifier_extractor

        return classifier_extractor(rest, device=device)
    if colon and "." in kind:
        return _own(kind, rest)
    choices = ("pixels", "classifier:FILE", "inception", "package.module:factory")
    near = difflib.get_close_matches(name, choices, 1)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of them."
    raise ValueError(f"`name` must be one of {', '.join(choices)}, got {name!r}; {hint}")


def check_images(images: Tensor) -> None:
    """Refuse anything but uint8 pictures `[n, channels, height, width]`."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"`images` must be a uint8 tensor, got {kind}; convert states in [-1, 1] with flowops.data.to_uint8."
        )
    if images.ndim != 4:
        raise ValueError(f"`images` must have shape [n, channels, height, width], got {list(images.shape)}.")


def chunks(images: Tensor | Iterable[Tensor], chunk: int) -> Iterator[Tensor]:
    """Batches of at most `chunk` pictures of a tensor, or of a stream of tensors."""
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"`chunk` must be a positive number of pictures, got {chunk!r}; pass 500, say.")
    for part in [images] if isinstance(images, Tensor) else images:
        check_images(part)
        yield from part.split(chunk) if len(part) else ()


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions in float32 on every device; TF32 rounds factors to 11 bits, so features would depend on the GPU."""
    cudnn: Any = torch.backends.cudnn  # its types lack what follows
    convolutions = cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1).double() / 255


def _own(module: str, factory: str) -> Extractor:
    """What the function `factory` of the user's module returns."""
    try:
        function = getattr(importlib.import_module(module), factory)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"`name` must be package.module:factory of a module that can be imported, got {module}:{factory} ({error})."
        ) from error
    extractor = function()
    if not isinstance(extractor, Extractor):
        raise TypeError(f"{module}:{factory} must return an Extractor, got {type(extractor).__name__}; wrap it in one.")
    return extractor

"""Images brought to one size, one number of channels and eight bits, where that is asked for and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowops._named import require

FILTERS = ("box", "bilinear", "bicubic", "lanczos")
GROUNDS = {"white": (255, 255, 255, 255), "black": (0, 0, 0, 255)}
_ALPHA = ("RGBA", "LA", "PA")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Fit:
    """What is done to an image before its pixels are taken, in this order: alpha, depth, size.

    Pillow's filters are antialiased: a pixel of the result is a weighted mean of all that it covers. They are integer
    arithmetic on bytes, so that one version of Pillow gives the same bytes everywhere.

    Args:
        size: side of the result, which is square; None leaves every image as it is.
        resize: the filter, `box`, `bilinear`, `bicubic` or `lanczos`; None only crops.
        crop: `center` takes the square in the middle of an image (without a filter, that of side `size`); None
            stretches the whole of it.
        alpha: `white` or `black`, over which transparent images are laid; None refuses them.
        depth: 8 rounds grey images of 16 bits to 8; None refuses them.

    Raises:
        ValueError: for other values, for a filter or a crop without a size, and for a size with neither.
    """

    size: int | None = None
    resize: str | None = "bicubic"
    crop: str | None = "center"
    alpha: str | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        size = self.size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"`size` must be a whole number of at least 1, got {size!r}; pass size=64, say.")
        for name, known in (("resize", FILTERS), ("crop", ("center",)), ("alpha", tuple(GROUNDS))):
            if (value := getattr(self, name)) not in (None, *known):
                raise ValueError(
                    f"`{name}` must be one of {', '.join(known)}, none, got {value!r}; choose one of them."
                )
        if size is None and (self.resize, self.crop) != ("bicubic", "center"):
            raise ValueError("`size` must be given with `resize` or `crop`, got None; pass size=64, say.")
        if self.resize is None and self.crop is None:
            raise ValueError(
                "`resize` and `crop` must not both be none with a `size`, got none; leave one of them out."
            )
        if self.depth not in (None, 8):
            raise ValueError(f"`depth` must be 8 or None, got {self.depth!r}; pass depth=8 to round 16 bits.")

    def __str__(self) -> str:
        """What it does, for provenance; nothing for nothing."""
        told = [f"resized {self.resize}"] if self.size and self.resize else []
        told += [f"cropped {self.crop}"] if self.size and self.crop else []
        told += [f"alpha over {self.alpha}"] if self.alpha else []
        told += ["16 bits rounded to 8"] if self.depth else []
        return ", ".join(told)

    def plain(self, image: Any) -> Any:
        """The image without transparency and with eight bits, as far as that is asked for."""
        if self.alpha and (image.mode in _ALPHA or "transparency" in image.info):
            grey = image.mode in ("LA", "L", "1")
            image = image.convert("RGBA")
            ground = require("PIL.Image", "images").new("RGBA", image.size, GROUNDS[self.alpha])
            ground.alpha_composite(image)
            return ground.convert("L" if grey else "RGB")
        if self.depth and image.mode in _DEEP:
            values = np.asarray(image).astype(np.uint32)
            rounded = ((values * 255 + 32767) // 65535).astype(np.uint8)
            return require("PIL.Image", "images").fromarray(rounded)
        return image

    def mode(self, image: Any) -> str:
        """The mode that `plain` gives, seen before any pixel is read."""
        mode = str(image.mode)
        if self.alpha and (mode in _ALPHA or "transparency" in image.info):
            return "L" if mode in ("LA", "L", "1") else "RGB"
        return "L" if self.depth and mode in _DEEP else mode

    def too_small(self, image: Any) -> bool:
        """Whether an image that is only cropped has less than what is cut out of it."""
        return self.size is not None and self.resize is None and min(image.size) < self.size

    def sized(self, image: Any) -> Any:
        """The image at its size."""
        if self.size is None:
            return image
        width, height = image.size
        if self.crop:
            side = min(width, height) if self.resize else self.size
            left, top = (width - side) // 2, (height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        if self.resize is None or image.size == (self.size, self.size):
            return image
        return image.resize((self.size, self.size), require("PIL.Image", "images").Resampling[self.resize.upper()])


AS_THEY_ARE = Fit()


def advice(mode: str) -> str:
    """What to pass for an image of a mode that is refused, if anything helps."""
    if mode in _ALPHA:
        return " (pass alpha=white or alpha=black to lay it over a colour)"
    return " (pass depth=8 to round 16 bits)" if mode in _DEEP else ""

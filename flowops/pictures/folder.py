"""Many images in a folder, one PNG file each, named by the number of the sample; a second call goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from flowops._files import write_text, written
from flowops._named import require
from flowops.data.images import to_uint8

MANIFEST: Final = "samples.json"


class PictureFolder:
    """A folder of samples that are told by their number: `000000.png`, `000001.png`, ... and `samples.json`.

    Args:
        path: the folder; it is made when the first picture is written.
        settings: what the samples follow from besides their number, as JSON holds it. A folder of the same settings
            keeps its pictures.

    Attributes:
        held: the numbers of the pictures that are there.

    Raises:
        ValueError: if there is something else in the folder.
        NotADirectoryError: if it is a file.
        ImportError: without pillow; the message names the extra.
    """

    def __init__(self, path: Path | str, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = Path(path), json.loads(json.dumps(settings))
        self._image = require("PIL.Image", "images")
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"`path` must be a folder, and {self.path} is a file; choose another name.")
        names = sorted(file.name for file in self.path.iterdir()) if self.path.is_dir() else []
        self._new = not names
        if names:
            self._check_settings()
        for name in names:
            if name.startswith(".") and name.endswith(".png"):  # what a process left that was killed
                (self.path / name).unlink(missing_ok=True)
        self.held = {int(name[:-4]) for name in names if name.endswith(".png") and name[:-4].isdecimal()}

    def add(self, first: int, x: Tensor, labels: Tensor | None = None) -> None:
        """Write the images `[n, c, h, w]`, `first` being the number of the first; those that are there are left.

        Labels are no part of a picture, and follow from the settings.

        Raises:
            ValueError: for images that are not finite.
        """
        if self._new:
            write_text(self.path / MANIFEST, json.dumps(self.settings, indent=2) + "\n")
            self._new = False
        for number, pixels in enumerate(to_uint8(x).permute(0, 2, 3, 1).cpu().numpy(), start=first):
            if number not in self.held:
                with written(self.path / f"{number:06d}.png") as temporary:
                    self._image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(temporary)
                self.held.add(number)

    def _check_settings(self) -> None:
        manifest = self.path / MANIFEST
        try:
            held = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            held = None
        if not isinstance(held, dict):
            raise ValueError(
                f"`path` must be a new folder or one of the same samples, and {self.path} holds other things; choose "
                f"another name."
            )
        for name in sorted(held.keys() | self.settings.keys()):
            old, new = held.get(name), self.settings.get(name)
            if old != new:
                raise ValueError(
                    f"`path` must be a new folder or one of the same samples, and {self.path} holds those with {name} "
                    f"{old} in place of {new}; choose another name."
                )

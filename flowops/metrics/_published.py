"""Files of published weights: looked for, never downloaded, and refused by their hash if they are others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowops._files import digest


@dataclass(frozen=True)
class Published:
    """A file of weights as it was published.

    Args:
        whose: the network, for messages.
        url: where it is; its last part is the name of the file.
        sha256: the hash of its bytes.
        size: of the download, for messages.
    """

    whose: str
    url: str
    sha256: str
    size: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    def find(self, weights: Path | str | None) -> Path:
        """The file given, or that where torch keeps downloads.

        Raises:
            FileNotFoundError: if there is none; the message says what to download.
            ValueError: if it is another file than the published one.
        """
        path = Path(torch.hub.get_dir(), "checkpoints", self.file) if weights is None else Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                f"The weights of {self.whose} must be in {path}, and are not; download {self.url} ({self.size}) to "
                f"that place, or pass weights=FILE."
            )
        found = digest(path, "sha256")
        if found != self.sha256:
            raise ValueError(
                f"{path} must be {self.file} with SHA-256 {self.sha256[:16]}..., got {found[:16]}...; download it "
                f"again from {self.url}."
            )
        return path

    def check_colours(self, images: Tensor) -> None:
        """Refuse images without three channels."""
        if images.shape[1] != 3:
            raise ValueError(
                f"`images` must have 3 channels for {self.whose}, got {images.shape[1]}; repeat grey ones."
            )

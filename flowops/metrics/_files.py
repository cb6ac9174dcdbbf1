"""Safetensors files with a format named in their metadata: read with every damage told in one sentence."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from flowops._named import require


def opened(path: Path, format: str, what: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file that says it has this format.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is damaged, or a file of another kind.
    """
    safetensors = require("safetensors", "metrics")
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file with {what}, and there is none; check the path.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} must be a whole file with {what}, got a damaged one: {error}.") from error
    if metadata.get("format") != format:
        raise ValueError(f"{path} must have the format {format!r}, got {metadata.get('format')!r}; pass {what}.")
    return metadata, tensors

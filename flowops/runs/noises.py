"""Noise of samples in a file, with their labels: what an inversion writes and sampling takes again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowops._files import written
from flowops._named import require


def save_noise(path: Path | str, x0: Tensor, labels: Tensor | None = None) -> None:
    """Write states at time 0, `x0` `[n, *event]`, and their `labels` `[n]` to a safetensors file, whole or not at all.

    Raises:
        ValueError: for another suffix than .safetensors.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"`path` must end in .safetensors, got {path}; rename it.")
    held = {"x0": x0} if labels is None else {"x0": x0, "labels": labels}
    with written(path) as temporary:
        require("safetensors.torch", "train").save_file(
            {name: value.detach().cpu().contiguous() for name, value in held.items()}, temporary
        )


def load_noise(path: Path | str) -> tuple[Tensor, Tensor | None]:
    """States at time 0 and their labels, from a file of `save_noise`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"`noise` must be a file of flowops invert, and {path} is none; check the path.")
    refused = require("safetensors", "train").SafetensorError
    try:
        held = require("safetensors.torch", "train").load_file(path)
        x0, labels = held["x0"], held.get("labels")
    except (refused, KeyError) as error:
        raise ValueError(
            f"`noise` must be a safetensors file with the states x0, and {path} is not ({str(error).splitlines()[0]}); "
            f"write it with flowops invert."
        ) from error
    if not x0.is_floating_point() or not bool(x0.isfinite().all()):
        raise ValueError(f"`noise` must hold finite floating states x0, and {path} does not; write it anew.")
    if labels is not None and (labels.shape != x0.shape[:1] or labels.dtype != torch.int64):
        raise ValueError(f"`noise` must hold a whole label for each state, and {path} does not; write it anew.")
    return x0, labels

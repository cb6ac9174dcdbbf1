"""A model and its scheduler from a folder that diffusers saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from torch import nn

from flowops._named import require
from flowops.adapters.diffusers.backbone import KINDS

MODELS: Final = ("unet", "transformer")


def open_folder(path: str | Path) -> tuple[nn.Module, Any]:
    """The model and the scheduler of a folder that `save_pretrained` wrote, as they are.

    It is that of a pipeline: the model in `unet` or `transformer`, the scheduler in `scheduler`. Nothing is asked of
    the network, and weights are read as safetensors only.

    Raises:
        ImportError: without diffusers.
        FileNotFoundError: if there is no such folder, or a part is missing.
        ValueError: if a part is none of a kind that is known, or cannot be read.
    """
    place = Path(path).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"`{path}` must be a folder saved by diffusers, and there is none; check the path.")
    found = [name for name in MODELS if (place / name / "config.json").is_file()]
    if len(found) != 1:
        raise FileNotFoundError(
            f"`{path}` must hold one model, as unet/config.json or transformer/config.json, got "
            f"{' and '.join(found) or 'none'}; save it there with save_pretrained."
        )
    settings = place / "scheduler" / "scheduler_config.json"
    if not settings.is_file():
        raise FileNotFoundError(
            f"`{path}` must hold the scheduler of the training in scheduler/, and there is none; save it there with "
            f"save_pretrained."
        )
    diffusers = require("diffusers", "diffusers")
    kind, clock = _kind(place / found[0] / "config.json"), _kind(settings)
    if kind not in KINDS:
        raise ValueError(f"`{path}` must hold a {' or a '.join(KINDS)}, got {kind}; wrap that one yourself.")
    scheduler = getattr(diffusers, clock, None) if clock.endswith("Scheduler") else None
    if scheduler is None:
        raise ValueError(f"`{path}` must hold a scheduler that this diffusers knows, got {clock}; install a newer one.")
    try:
        model = getattr(diffusers, kind).from_pretrained(
            place / found[0], local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
        return model, scheduler.from_pretrained(place / "scheduler", local_files_only=True)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:  # as its file is damaged
        said = str(error).strip().split("\n")[0]
        raise ValueError(f"`{path}` must be readable by diffusers, which says: {said}; save it again.") from None


def _kind(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["_class_name"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"`{file}` must name its class as diffusers writes it, and does not; save it again.") from None

"""A learned map as a folder that diffusers opens."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowops._named import require
from flowops.adapters.diffusers.model import FlowMapModel
from flowops.adapters.diffusers.pipeline import FlowMapPipeline, is_pipeline
from flowops.interpolants import Interpolant, linear
from flowops.maps import FlowMap, LearnedMap, reschedule
from flowops.sampling import noise

CHECKED = ((1.0, 0.0), (1.0, 0.5), (0.75, 0.25), (0.5, 0.0))
"""Noise levels between which the folder is compared with the map."""


@dataclass(frozen=True)
class ExportedPipeline:
    """A folder that was written.

    Attributes:
        path: the folder.
        error: the largest difference of its model from the map, relative to the largest value, over fresh states.
    """

    path: Path
    error: float


@torch.no_grad()
def export_pipeline(X: LearnedMap, I: Interpolant, path: Path | str, config: Mapping[str, Any]) -> ExportedPipeline:
    """Write a map as the folder of a `FlowMapPipeline`: `model_index.json`, `unet/`, `scheduler/`, no code.

    The weights are safetensors. The folder is loaded again and its model compared with the map before it takes its
    place, in which an earlier export may be.

    Args:
        X: the map, whose network and parameterization `config` names.
        I: its interpolant, which it names as well.
        path: the folder.
        config: arguments of `FlowMapModel`.

    Raises:
        FileExistsError: if something else is there.
        ValueError: for a schedule that cannot be moved to the linear one, and if the folder disagrees with the map.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not (path.is_dir() and (not any(path.iterdir()) or is_pipeline(path)))):
        raise FileExistsError(f"`path` must be a new folder or an earlier export, and {path} is not; choose another.")
    FlowMapModel.trust(*(str(config.get(name)) for name in ("network", "parameterization", "interpolant")))
    model = FlowMapModel(**config)
    model.learned.load_state_dict(X.state_dict())
    scheduler = require("diffusers", "diffusers").FlowMapEulerDiscreteScheduler(model.config.num_train_timesteps)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        FlowMapPipeline(model.eval(), scheduler).save_pretrained(temporary, safe_serialization=True)
        moved = reschedule(X, I, linear(), truncate=model.config.truncate) if model.is_moved else X
        error = _difference(FlowMapModel.from_pretrained(temporary / "unet"), moved)
        if not error <= 1e-4:
            raise ValueError(
                f"The exported model must give what the map gives, and differs by {error:.2g} of it; put the network "
                f"into evaluation mode, and see that its factory makes the same network every time."
            )
        _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return ExportedPipeline(path, error)


def _difference(model: FlowMapModel, X: FlowMap) -> float:
    """Of the model's steps from the map on the linear schedule, relative; a few states of every kind of step."""
    parameter, known, worst = next(X.parameters()), len(model.config.classes), 0.0
    model.to(parameter.device)
    for k, (begin, end) in enumerate(CHECKED):
        x = noise(3, model.event, seed=k, device=parameter.device)
        labels = (torch.arange(3, device=x.device) + 3 * k) % known if known else None
        f = model(x, 1000 * begin, 1000 * end, class_labels=labels, return_dict=False)[0]
        wanted = (X if labels is None else X.given(label=labels))(1 - begin, 1 - end, x)
        worst = max(worst, float((x - (begin - end) * f - wanted).abs().max() / wanted.abs().max()))
    return worst


def _replace(finished: Path, place: Path) -> None:
    """Rename a finished folder; one that is in its place is set aside until it is there."""
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex}") if place.exists() else None
    if aside is not None:
        place.rename(aside)
    try:
        finished.rename(place)
    except OSError:
        if aside is not None:
            aside.rename(place)
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)

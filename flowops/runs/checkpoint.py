"""A checkpoint of a run on disk: what it holds, and how it is read, every file verified before it is believed.

A checkpoint is a folder named after its step: `model.safetensors`, `ema-NAME.safetensors` for each average, `state.pt`
with the rest, and `manifest.json`, which lists them with their sizes and hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops._files import digest
from flowops._named import require

VERSION = 1  # of the layout of a checkpoint
MODEL, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
ASIDE = ".replaced"  # behind the name of a checkpoint, while another takes its place
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # no separators: a manifest names files of its own folder only


class CheckpointError(OSError):
    """A checkpoint cannot be written, or is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Attributes:
        step: number of steps behind it.
        weights: weights of the network.
        averages: the averaged weights, by name.
        state: everything else: tensors, numbers and containers of them.
    """

    step: int
    weights: dict[str, Tensor]
    averages: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds.

    Attributes:
        step: number of steps behind it.
        files: size in bytes and BLAKE2b hash of each file.
    """

    step: int
    files: dict[str, tuple[int, str]]


def candidates(folder: Path) -> list[Path]:
    """The checkpoints, newest first: folders named by a step, and those set aside whose place is still empty."""
    found: dict[int, Path] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        name = path.name.removesuffix(ASIDE)
        if not _is_step(name) or not path.is_dir():
            continue
        if name == path.name or not (folder / name).is_dir():
            found[int(name)] = path
    return [found[step] for step in sorted(found, reverse=True)]


def load_checkpoint(path: Path | str) -> Checkpoint:
    """The checkpoint in a folder, on the CPU, after every file was compared with what was written.

    Raises:
        CheckpointError: for a file that is missing, cut, changed, or of another version, by its name.
    """
    path = Path(path)
    manifest = read_manifest(path)
    found = {name: verified(path, manifest, name) for name in (MODEL, STATE, *manifest.files)}
    named = {name[4:-12]: file for name, file in found.items() if name.startswith("ema-")}
    averages = {name: _load_tensors(file) for name, file in named.items()}
    try:
        state = torch.load(found[STATE], weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a foreign file makes torch raise
        raise CheckpointError(
            f"{found[STATE]} is no state of a run ({reason(error)}); use another checkpoint."
        ) from error
    return Checkpoint(manifest.step, _load_tensors(found[MODEL]), averages, state)


def latest_checkpoint(folder: Path | str, report: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole, None if there is none; each newer one is reported with what is wrong."""
    for path in candidates(Path(folder)):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            report(f"Checkpoint {path.name} is not used: {error}")
    return None


def load_weights(
    folder: Path | str, step: int | None = None, average: str | None = None
) -> tuple[int, dict[str, Tensor]]:
    """The step and the weights of one checkpoint, on the CPU; only their file is read and verified.

    Args:
        folder: `checkpoints` in the folder of a run.
        step: which checkpoint; None for the newest whose weights are whole.
        average: name of the average of the weights; None for the weights themselves.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        CheckpointError: if the weights are damaged, or there is no such average.
    """
    folder = Path(folder)
    paths = [path for path in candidates(folder) if step is None or path.name == str(step)]
    if not paths:
        raise FileNotFoundError(
            f"{folder} must hold a checkpoint{'' if step is None else f' of step {step}'}, and does not."
        )
    faults = []
    for path in paths:
        try:
            manifest = read_manifest(path)
            name = MODEL if average is None else f"ema-{average}.safetensors"
            return manifest.step, _load_tensors(verified(path, manifest, name))
        except CheckpointError as error:
            faults.append(error)
    raise faults[0]


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = require("safetensors.torch", "train").load_file(path)
    except (OSError, require("safetensors", "train").SafetensorError) as error:
        raise CheckpointError(f"{path} holds no tensors ({reason(error)}); use another checkpoint.") from error
    return loaded


def read_manifest(folder: Path) -> Manifest:
    """The list of a checkpoint.

    Raises:
        CheckpointError: if there is none, or not one of this version.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        written = content["version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} must be the list of a checkpoint, and it is not ({reason(error)}); use another checkpoint."
        ) from error
    if written != VERSION:
        raise CheckpointError(
            f"{folder} must be a checkpoint of version {VERSION}, got version {written!r}, written by flowops "
            f"{content.get('flowops')!r}; read it with that flowops."
        )
    try:
        files = {str(name): (int(entry["bytes"]), str(entry["blake2b"])) for name, entry in content["files"].items()}
        manifest = Manifest(int(content["step"]), files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} must list a step and files, and it does not; use another checkpoint.") from error
    if foreign := [name for name in files if not NAME.fullmatch(name)]:
        raise CheckpointError(f"{path} must name files of its folder, got {foreign[0]!r}; do not use this checkpoint.")
    return manifest


def verified(folder: Path, manifest: Manifest, name: str) -> Path:
    """The path of a file that is, byte for byte, what was written.

    Raises:
        CheckpointError: if it is not, or not there.
    """
    path = folder / name
    if name not in manifest.files:
        raise CheckpointError(
            f"{path} must be in the checkpoint, which holds {', '.join(sorted(manifest.files))}; name one of these."
        )
    try:
        found = path.stat().st_size, digest(path, "blake2b")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({reason(error)}); use another checkpoint.") from error
    wanted = manifest.files[name]
    if found[0] != wanted[0]:
        raise CheckpointError(f"{path} must have {wanted[0]} bytes, got {found[0]}: it is cut; use another checkpoint.")
    if found != wanted:
        raise CheckpointError(f"{path} has other content than was written: it is damaged; use another checkpoint.")
    return path


def reason(error: BaseException) -> str:
    """The first line of an error, without the path that stands in it."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name

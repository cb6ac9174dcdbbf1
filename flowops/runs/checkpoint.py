"""A checkpoint of a run on disk: what it holds, and how it is read, every file verified before it is believed.

A checkpoint is a folder named after its step: `model.safetensors`, `ema-NAME.safetensors` for each average, `state.pt`
with the rest, and `manifest.json`, which lists them with their sizes and hashes. The power-function averages of a step
are kept apart in the same form, without weights and state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops._files import digest
from flowops._named import require
from flowops.runs.folder import MANIFEST, MODEL, STATE, candidates, file_of

VERSION = 1  # of the layout of a checkpoint
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
        since: the step from which an average was taken, by name, where that is not the first one.
    """

    step: int
    weights: dict[str, Tensor]
    averages: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    since: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds.

    Attributes:
        step: number of steps behind it.
        files: size in bytes and BLAKE2b hash of each file.
        since: as in `Checkpoint`.
    """

    step: int
    files: dict[str, tuple[int, str]]
    since: dict[str, int]

    @property
    def averages(self) -> list[str]:
        """The names of the averages."""
        return [name[4:-12] for name in self.files if name.startswith("ema-")]


def load_checkpoint(path: Path | str) -> Checkpoint:
    """The checkpoint in a folder, on the CPU, after every file was compared with what was written.

    Raises:
        CheckpointError: for a file that is missing, cut, changed, or of another version, by its name.
    """
    path = Path(path)
    manifest = read_manifest(path)
    found = {name: verified(path, manifest, name) for name in (MODEL, STATE, *manifest.files)}
    averages = {name: load_tensors(found[file_of(name)]) for name in manifest.averages}
    try:
        state = torch.load(found[STATE], weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a foreign file makes torch raise
        raise CheckpointError(
            f"{found[STATE]} is no state of a run ({reason(error)}); use another checkpoint."
        ) from error
    return Checkpoint(manifest.step, load_tensors(found[MODEL]), averages, state, manifest.since)


def latest_checkpoint(folder: Path | str, report: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole, None if there is none at all; each newer one is reported with its fault.

    Raises:
        CheckpointError: if there are checkpoints, and none is whole.
    """
    faults = []
    for step, path in candidates(Path(folder)).items():
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            faults.append(_not_used(step, error))
        else:
            _tell(report, faults)
            return found
    if faults:
        raise CheckpointError(
            f"{folder} must hold a checkpoint that is whole to go on from, and holds {len(faults)} that are not. "
            f"{faults[0]}"
        )
    return None


def load_weights(
    folder: Path | str,
    step: int | None = None,
    average: str | Sequence[str] | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[int, dict[str, Tensor]]:
    """The step and the weights of one checkpoint, on the CPU; only their file is read and verified.

    Args:
        folder: `checkpoints` in the folder of a run.
        step: which checkpoint; None for the newest whose weights are whole.
        average: name of the average of the weights; names for the first of them that the checkpoint holds, or else the
            first average in it; None or no names for the weights themselves.
        report: is told what is wrong with newer checkpoints, and which average takes the place of the one wanted.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        CheckpointError: if the weights are damaged, or there is no such average.
    """
    folder = Path(folder)
    paths = {n: path for n, path in candidates(folder).items() if step in (None, n)}
    if not paths:
        raise FileNotFoundError(
            f"{folder} must hold a checkpoint{'' if step is None else f' of step {step}'}, and does not."
        )
    faults: list[CheckpointError] = []
    lines: list[str] = []
    for n, path in paths.items():
        try:
            manifest = read_manifest(path)
            name = average if average is None or isinstance(average, str) else _first(manifest, average)
            weights = load_tensors(verified(path, manifest, _listed(path, manifest, name)))
        except CheckpointError as error:
            faults.append(error)
            lines.append(_not_used(n, error))
            continue
        if name is not None and not isinstance(average, str) and average is not None and name != average[0]:
            lines.append(f"Checkpoint {n} holds no average {average[0]}, which was added later: {name} is used.")
        _tell(report, lines)
        return manifest.step, weights
    raise faults[0]


def _first(manifest: Manifest, names: Sequence[str]) -> str | None:
    """The first of the names that is an average of the checkpoint, or else its first average; None for no names."""
    if not names:
        return None
    return next((name for name in (*names, *manifest.averages) if name in manifest.averages), names[0])


def _listed(path: Path, manifest: Manifest, average: str | None) -> str:
    """The file of an average that is in the list."""
    if average is not None and average not in manifest.averages:
        raise CheckpointError(
            f"`average` must be one of {', '.join(manifest.averages)} or none in {path}, got {average!r}; pass one."
        )
    return file_of(average)


def _not_used(step: int, error: CheckpointError) -> str:
    return f"Checkpoint {step} is not used: {error}"


def _tell(report: Callable[[str], None], lines: Sequence[str]) -> None:
    for line in lines:
        report(line)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file in the format safetensors, by name, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, or of another format.
    """
    if not path.exists():
        raise FileNotFoundError(f"`{path}` must be a file of weights, and there is none; check the path.")
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
        since = {str(name): int(step) for name, step in content.get("since", {}).items()}
        manifest = Manifest(int(content["step"]), files, since)
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

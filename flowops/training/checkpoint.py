"""The state of a run on disk: whole or not there, verified before it is read, and the previous one is kept until then.

A checkpoint is a folder named after its step: `model.safetensors`, `ema-NAME.safetensors` for each average, `state.pt`
with the rest, and `manifest.json`. It is written beside `checkpoints/` and renamed when every byte is on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops._extras import require
from flowops.training._checkpoint_folders import candidates, free_bytes, put_in_place, remove_older, temporary_folder
from flowops.training._manifest import CheckpointError, check_name, read_manifest, reason, verified, write_manifest

__all__ = ["Checkpoint", "CheckpointError", "latest_checkpoint", "load_checkpoint", "load_weights", "save_checkpoint"]

MODEL, STATE = "model.safetensors", "state.pt"
_PLAIN = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Attributes:
        step: number of steps behind it.
        weights: of the network.
        averages: the averaged weights, by name.
        state: everything else: tensors, numbers and containers of them.
    """

    step: int
    weights: dict[str, Tensor]
    averages: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path | str,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    averages: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int | None,
) -> None:
    """Write `folder`/`step`, in place of one that is there; then delete older ones.

    Args:
        folder: `checkpoints` in the folder of a run.
        step: number of steps done.
        weights: state dict of the network; prefixes of wrappers (`module.`, `_orig_mod.`) are dropped.
        averages: the same for each average.
        state: nested dicts, lists and tuples of tensors, numbers and strings.
        keep: how many checkpoints stay, this one and the newest before it; None for all.

    Raises:
        CheckpointError: if the disk is full or refuses; what was there before is as it was.
        TypeError: for a state that could not be read again.
        ValueError: for a step below 0, `keep` below 1, and names that make no file names or coincide without prefixes.
    """
    folder = Path(folder)
    if step < 0 or (keep is not None and keep < 1):
        raise ValueError(f"`step` must be at least 0 and `keep` at least 1 or None, got {step} and {keep}.")
    _check_plain(state, "state")
    named = {MODEL: weights, **{f"ema-{check_name(name)}.safetensors": values for name, values in averages.items()}}
    files = {name: _without_wrappers(values) for name, values in named.items()}
    save_file = require("safetensors.torch", "train").save_file
    refused = require("safetensors", "train").SafetensorError
    try:
        with temporary_folder(folder) as temporary:
            for name, values in files.items():
                save_file(_separate(values), temporary / name)
            _save_state(state, temporary / STATE)
            write_manifest(temporary, step, [*files, STATE])
            put_in_place(temporary, folder / str(step))
    except (OSError, refused) as error:
        raise CheckpointError(
            f"{folder / str(step)} could not be written ({reason(error)}; {free_bytes(folder):,} bytes are free), "
            f"older checkpoints are as they were; make room or mend the disk, and resume."
        ) from error
    if keep is not None:
        remove_older(folder, step, keep - 1)


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


def _save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write the state; torch hides why a write failed behind a RuntimeError, so the reason is taken from its cause."""
    try:
        with path.open("wb") as file:
            torch.save(dict(state), file)
    except RuntimeError as error:
        cause = error.__context__
        raise cause if isinstance(cause, OSError) else OSError(reason(error)) from error


def _without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the network itself has them: `_orig_mod` anywhere, `module` where all names begin with it."""
    names = {name: ".".join(part for part in name.split(".") if part != "_orig_mod") for name in weights}
    while names and all(name.startswith("module.") for name in names.values()):
        names = {old: name.removeprefix("module.") for old, name in names.items()}
    if len(set(names.values())) < len(names):
        raise ValueError(
            "`weights` must have names that differ without the prefixes of wrappers; pass the network's own."
        )
    return {names[old]: value for old, value in weights.items()}


def _separate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own: safetensors refuses shared memory."""
    seen: set[int] = set()
    result = {}
    for name, value in weights.items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        result[name] = value.clone() if storage in seen else value
        seen.add(storage)
    return result


def _check_plain(value: Any, where: str) -> None:
    """Refuse what `torch.load(weights_only=True)` would: better now than when the run is resumed."""
    if type(value) in _PLAIN or isinstance(value, Tensor):
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(entry, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for k, entry in enumerate(value):
            _check_plain(entry, f"{where}[{k}]")
    else:
        raise TypeError(
            f"`state` must be made of tensors, numbers, strings, lists, tuples and dicts, got {type(value).__name__} "
            f"at {where}; convert it."
        )

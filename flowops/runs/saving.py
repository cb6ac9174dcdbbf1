"""Writing a checkpoint: whole or not there, and the previous one is as it was until then.

It is written beside `checkpoints/` and renamed when every byte is on the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops._files import digest
from flowops._named import bare_names, require
from flowops.runs.checkpoint import NAME, VERSION, CheckpointError, reason
from flowops.runs.folder import ASIDE, MANIFEST, MODEL, STATE, candidates, file_of
from flowops.runs.provenance import flowops_version

TEMPORARY = ".tmp-checkpoint-"  # in the folder of a run, followed by the number of the process
_PLAIN = (bool, int, float, str, bytes, type(None))


def save_checkpoint(
    folder: Path | str,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    averages: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int | None,
    since: Mapping[str, int] | None = None,
) -> None:
    """Write `folder`/`step`, in place of one that is there; then delete older ones.

    Args:
        folder: `checkpoints` in the folder of a run.
        step: number of steps done.
        weights: state dict of the network; prefixes of wrappers (`module.`, `_orig_mod.`) are dropped.
        averages: the same for each average.
        state: nested dicts, lists and tuples of tensors, numbers and strings.
        keep: how many checkpoints stay, this one and the newest before it; None for all.
        since: as in `Checkpoint`.

    Raises:
        CheckpointError: if the disk is full or refuses; what was there before is as it was.
        TypeError: for a state that could not be read again.
        ValueError: for a step below 0, `keep` below 1, and names that make no file names or coincide without prefixes.
    """
    if step < 0 or (keep is not None and keep < 1):
        raise ValueError(f"`step` must be at least 0 and `keep` at least 1 or None, got {step} and {keep}.")
    _check_plain(state, "state")
    _write(Path(folder), step, {MODEL: weights, **_files(averages)}, state, since or {})
    if keep is not None:
        remove_older(Path(folder), step, keep - 1)


def save_averages(
    folder: Path | str,
    step: int,
    averages: Mapping[str, Mapping[str, Tensor]],
    since: Mapping[str, int] | None = None,
) -> None:
    """Write `folder`/`step` with averages alone, in place of one that is there; older ones stay.

    Args:
        folder: `averages` in the folder of a run.
        step: number of steps done.
        averages: as in `save_checkpoint`.
        since: as in `Checkpoint`.

    Raises:
        CheckpointError: if the disk is full or refuses; what was there before is as it was.
    """
    _write(Path(folder), step, _files(averages), None, since or {})


def save_weights(folder: Path | str, step: int, weights: Mapping[str, Tensor], average: str | None) -> None:
    """Write `folder`/`step` with weights alone, under the name of an average, or None for that of the weights.

    Raises:
        CheckpointError: as `save_averages`.
    """
    _write(Path(folder), step, {file_of(None if average is None else check_name(average)): weights}, None, {})


def _files(averages: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Mapping[str, Tensor]]:
    return {file_of(check_name(name)): values for name, values in averages.items()}


def _write(
    folder: Path,
    step: int,
    weights: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any] | None,
    since: Mapping[str, int],
) -> None:
    """Write weights by the name of their file, and the state if there is one."""
    files = {name: _without_wrappers(values) for name, values in weights.items()}
    save_file = require("safetensors.torch", "train").save_file
    refused = require("safetensors", "train").SafetensorError
    try:
        with temporary_folder(folder) as temporary:
            for name, values in files.items():
                save_file(_separate(values), temporary / name)
            if state is not None:
                _save_state(state, temporary / STATE)
            write_manifest(temporary, step, files if state is None else [*files, STATE], since)
            put_in_place(temporary, folder / str(step))
    except (OSError, refused) as error:
        raise CheckpointError(
            f"{folder / str(step)} could not be written ({reason(error)}; {free_bytes(folder):,} bytes are free), "
            f"older checkpoints are as they were; make room or mend the disk, and resume."
        ) from error


def write_manifest(folder: Path, step: int, names: Iterable[str], since: Mapping[str, int] | None = None) -> None:
    """List files of a folder as they are on disk, and bring everything there to the disk itself."""
    files = {}
    for name in names:
        files[name] = {"bytes": (folder / name).stat().st_size, "blake2b": digest(folder / name, "blake2b")}
        to_disk(folder / name)
    about = {"version": VERSION, "flowops": flowops_version(), "step": step, "since": dict(since or {})}
    content = {**about, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    to_disk(folder / MANIFEST)
    to_disk(folder)


def check_name(name: str) -> str:
    """A name that can stand in a file name.

    Raises:
        ValueError: if it cannot.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"`averages` must have names of letters, digits and ._-, got {name!r}; rename it.")
    return name


def _save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write the state; torch hides why a write failed behind a RuntimeError, so the reason is taken from its cause."""
    try:
        with path.open("wb") as file:
            torch.save(dict(state), file)
    except RuntimeError as error:
        cause = error.__context__
        raise cause if isinstance(cause, OSError) else OSError(reason(error)) from error


def _without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights[wrapped] for wrapped, name in bare_names(weights).items()}


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


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that is gone afterwards; those of processes that were killed go too."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{TEMPORARY}*"):
        if not _is_alive(left.name.removeprefix(TEMPORARY)):
            shutil.rmtree(left, ignore_errors=True)
    for aside in folder.glob(f"*{ASIDE}"):
        place = folder / aside.name.removesuffix(ASIDE)
        if place.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(place)
    temporary = folder.parent / f"{TEMPORARY}{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, place: Path) -> None:
    """Rename a finished folder. One that is in its place is set aside, and found there should the process be killed."""
    aside = place.with_name(f"{place.name}{ASIDE}")
    if place.exists():
        place.rename(aside)
    try:
        temporary.rename(place)
    except OSError:
        if aside.exists():
            aside.rename(place)
        raise
    to_disk(place.parent)
    shutil.rmtree(aside, ignore_errors=True)


def remove_older(folder: Path, step: int, keep: int) -> None:
    """Remove the checkpoints before `step`, but for the newest `keep`; later ones stay."""
    older = [path for n, path in candidates(folder).items() if n < step]
    for path in older[keep:]:
        remove(path)


def remove_later(folder: Path, step: int) -> None:
    """Remove what was saved after `step`, which a run that goes on from there saves anew."""
    for n, path in candidates(folder).items():
        if n > step:
            remove(path)


def remove(path: Path) -> None:
    """Remove a checkpoint: it is whole, or has another name, or is gone. What the disk refuses stays."""
    gone = path.parent.parent / f"{TEMPORARY}{os.getpid()}"
    with suppress(OSError):
        path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Free space of the file system of a folder, or of the nearest one above that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def to_disk(path: Path) -> None:
    """Wait until a file or the entries of a folder would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(process: str) -> bool:
    """Whether another process of that number runs here."""
    if not process.isascii() or not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

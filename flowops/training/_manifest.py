"""The list of a checkpoint's files with their sizes and hashes, and what becomes of a file that does not match it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flowops.training.provenance import flowops_version

VERSION = 1  # of the layout of a checkpoint
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # no separators: a manifest names files of its own folder only


class CheckpointError(OSError):
    """A checkpoint cannot be written, or is not what was written."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds.

    Attributes:
        step: number of steps behind it.
        files: size in bytes and BLAKE2b hash of each file.
    """

    step: int
    files: dict[str, tuple[int, str]]


def write_manifest(folder: Path, step: int, names: Iterable[str]) -> None:
    """List files of a folder as they are on disk, and bring everything there to the disk itself."""
    files = {}
    for name in names:
        size, digest = _fingerprint(folder / name)
        files[name] = {"bytes": size, "blake2b": digest}
        to_disk(folder / name)
    content = {"version": VERSION, "flowops": flowops_version(), "step": step, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    to_disk(folder / MANIFEST)
    to_disk(folder)


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
    if foreign := [name for name in files if not _NAME.fullmatch(name)]:
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
        found = _fingerprint(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({reason(error)}); use another checkpoint.") from error
    wanted = manifest.files[name]
    if found[0] != wanted[0]:
        raise CheckpointError(f"{path} must have {wanted[0]} bytes, got {found[0]}: it is cut; use another checkpoint.")
    if found != wanted:
        raise CheckpointError(f"{path} has other content than was written: it is damaged; use another checkpoint.")
    return path


def check_name(name: str) -> str:
    """A name that can stand in a file name.

    Raises:
        ValueError: if it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"`averages` must have names of letters, digits and ._-, got {name!r}; rename it.")
    return name


def reason(error: BaseException) -> str:
    """The first line of an error, without the path that stands in it."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__


def to_disk(path: Path) -> None:
    """Wait until a file or the entries of a folder would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fingerprint(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()
        return file.tell(), digest

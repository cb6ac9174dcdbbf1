"""The folders of checkpoints: which there are, how one takes its place, and which are removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowops.training._manifest import to_disk

TEMPORARY = ".tmp-checkpoint-"  # beside `checkpoints`, followed by the number of the process
ASIDE = ".replaced"  # behind the name of a checkpoint, while another takes its place


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
    """Remove the checkpoints before `step`, but for the newest `keep`; later ones, of a run gone back, stay."""
    older = [path for path in candidates(folder) if int(path.name) < step]
    for path in older[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Free space of the file system of a folder, or of the nearest one above that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name


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

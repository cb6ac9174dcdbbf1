"""Paths that a user gives: what is there, and what should have been."""

from __future__ import annotations

from pathlib import Path


def check_file(path: Path | str | None, what: str, suffixes: tuple[str, ...]) -> Path:
    """A file that exists and has one of the suffixes."""
    path = check_present(path, what)
    if not path.is_file():
        raise IsADirectoryError(f"`path` must be {what}, a file, got the folder {path}; name a file in it.")
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"`path` must be {what} ending in {' or '.join(suffixes)}, got {path}; convert it.")
    return path


def check_folder(path: Path | str | None, what: str) -> Path:
    """A folder that exists and has something in it."""
    path = check_present(path, what)
    if not path.is_dir():
        raise NotADirectoryError(f"`path` must be {what}, a folder, got the file {path}; name the folder it lies in.")
    if next(path.iterdir(), None) is None:
        raise ValueError(f"`path` must be {what}, got the empty folder {path}; check what was unpacked where.")
    return path


def check_present(path: Path | str | None, what: str) -> Path:
    """A path that exists."""
    if path is None:
        raise ValueError(f"`path` must be {what}, got none; pass path=PLACE.")
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"`path` must be {what}, got {path}, where there is nothing; check the spelling.")
    return path

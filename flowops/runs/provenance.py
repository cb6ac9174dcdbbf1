"""With what a run was made: versions, commits, device, command line; nothing that names a person or a machine."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch

PACKAGES = ("numpy", "scipy", "torchdiffeq", "torchvision", "lightning", "safetensors")
COMMIT, NONE_YET = "# branch.oid ", "(initial)"  # as `git status --porcelain=v2 --branch` writes them
# An absolute path: at the start of an argument, or behind a sign that may come before a value.
_ABSOLUTE = re.compile(r"(^|[=:,])((?:~[^/\\]*|[A-Za-z]:)?[/\\].*)$", re.DOTALL)


def provenance(device: torch.device | str) -> dict[str, object]:
    """What a reader needs to repeat a run, ready for JSON.

    Neither host nor user is named, and of an absolute path on the command line only the last part is kept.

    Args:
        device: where the run computes.
    """
    device = torch.device(device)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [without_folders(argument) for argument in sys.argv],
        "versions": {
            "flowops": flowops_version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            **{name: _version(name) for name in PACKAGES},
        },
        "flowops_commit": _own_commit(Path(__file__)),
        "working_directory_commit": _commit(Path.cwd()),
        "device": _device_name(device),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def flowops_version() -> str:
    """The version of this package."""
    return str(import_module("flowops").__version__)


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@cache
def _own_commit(file: Path) -> dict[str, object] | None:
    """The commit that this file of the library is of, asked once: what a process has imported stays what it was.

    The repository must hold the file, so that a package installed inside another project is not taken for that.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    return _commit(file.parent)


def _commit(folder: Path) -> dict[str, object] | None:
    """The commit of the repository around a folder, and whether files differ from it, if that is known; or None."""
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no")
    if status is None:  # there is no work tree, or it cannot be compared
        head = _git(folder, "rev-parse", "--verify", "HEAD")
        return None if head is None else {"commit": head, "dirty": None}
    lines = status.splitlines()
    commit = next(line.removeprefix(COMMIT) for line in lines if line.startswith(COMMIT))
    dirty = any(not line.startswith("#") for line in lines)
    return None if commit == NONE_YET else {"commit": commit, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def without_folders(argument: str) -> str:
    """The argument, an absolute path in it shortened to its last part."""
    found = _ABSOLUTE.search(argument)
    if found is None:
        return argument
    path = found[2]
    pure = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    return argument[: found.start()] + found[1] + pure.name

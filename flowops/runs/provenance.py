"""With what a run was made: versions, commits, device, command line; nothing that names a person or a machine."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch

PACKAGES = ("numpy", "scipy", "torchdiffeq", "torchvision", "lightning", "safetensors")
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
        "flowops_commit": _commit(Path(__file__).parent, Path(__file__).name),
        "working_directory_commit": _commit(Path.cwd()),
        "device": _device_name(device),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def flowops_version() -> str:
    """The version of this package."""
    return str(import_module("flowops").__version__)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _commit(folder: Path, file: str | None = None) -> dict[str, object] | None:
    """The commit of the repository around a folder, and whether files differ from it; None without one.

    Args:
        folder: inside the repository.
        file: one that the repository must hold, so that a package installed inside another project is not taken for it.
    """
    if file is not None and _git(folder, "ls-files", "--error-unmatch", file) is None:
        return None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


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

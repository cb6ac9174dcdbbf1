"""Files that are whole or not there: written beside their place under a name of their own, renamed when finished."""

from __future__ import annotations

import errno
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}  # of disks that know none


@contextmanager
def written(path: Path | str) -> Iterator[Path]:
    """A temporary path in the folder of `path` to write to; it takes the place of `path` when the block succeeds.

    The folder is created. What the block leaves behind when it fails is removed, and `path` is as it was. No process of
    any machine uses the same temporary name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path | str, patience: float = -1) -> Iterator[bool]:
    """Hold the lock that the file `path` stands for, after whoever holds it; False where the disk knows no locks.

    It is let go of at the end of the block, and by the system when the process ends in any way.

    Raises:
        TimeoutError: if it is held by another for more than `patience` seconds, where these are not below 0.
    """
    from filelock import FileLock

    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path, timeout=patience, fallback_to_soft=False))
            held = True
        except NotImplementedError:  # some disks of clusters
            held = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            held = False
        yield held


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digest(path: Path | str, algorithm: str) -> str:
    """The hash of the content of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()

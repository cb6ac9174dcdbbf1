"""A folder of files that appear together when all of them are written, or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def prepared(path: Path | str, name: str = "out") -> Iterator[Path]:
    """An empty folder beside `path` to write to; its files move to `path` when the block succeeds.

    That it can be written is known before the work of the block begins. Other files of `path` stay, and nothing is left
    behind by a block that fails.

    Args:
        path: the folder; it is created.
        name: what it was given as, for messages.

    Raises:
        OSError: if nothing can be written there, before the block begins.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"`{name}` must be a folder, and {path} is a file; choose another name.")
    inside = path.is_dir()  # then it may be the only place that can be written
    temporary = (path if inside else path.parent) / f".{path.name}.{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise type(error)(
            f"`{name}` must be a folder that can be written, and {path} cannot ({error.strerror}); choose another."
        ) from error
    try:
        yield temporary
        if inside:
            for file in temporary.iterdir():
                file.replace(path / file.name)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

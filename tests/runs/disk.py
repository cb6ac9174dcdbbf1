"""A disk that fails, or a process that dies, at the n-th thing done to files: made, written, renamed, removed."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import safetensors.torch

Fault = Literal["none", "fails", "full", "dies", "exits"]
CALLS = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir")  # of os, by which files are changed


class Died(BaseException):
    """The process is dead: nothing that it would still do reaches the disk."""


class Disk:
    """Counts what is done to files below a folder, and spoils what is done from number `at` on.

    Args:
        folder: what lies elsewhere is left alone.
        at: number of the first thing that goes wrong, from 1; None for never.
        fault: it "fails" once with an error; the disk is "full", so that every write and every new folder fails from
            there; the process "dies", as seen from inside, so that nothing is done any more; it "exits" in truth.
    """

    def __init__(self, folder: Path, at: int | None = None, fault: Fault = "none") -> None:
        self.folder, self.at, self.fault, self.count = str(folder), at, fault, 0

    def touch(self, *places: Any, writes: bool = True) -> None:
        """One more thing is done to a file, or it goes wrong; `writes` says whether it needs room."""
        if not any(isinstance(place, int) or str(place).startswith(self.folder) for place in places):
            return
        self.count += 1
        if self.at is None or self.count < self.at:
            return
        if self.fault == "exits":
            os._exit(9)
        if self.fault == "dies":
            raise Died
        if (self.fault == "full" and writes) or (self.fault == "fails" and self.count == self.at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def mounted(self) -> Iterator[Disk]:
        """Everything in here is done to this disk."""
        with pytest.MonkeyPatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, self._call(name, getattr(os, name)))
            patched.setattr(io, "open", self._open(io.open))
            patched.setattr(safetensors.torch, "save_file", self._save(safetensors.torch.save_file))
            yield self

    def _call(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            # what is removed folder by folder is named relative to one that is open, which stands for it
            self.touch(*arguments, *filter(None, options.values()), writes=name in ("fsync", "mkdir"))
            return None if name == "fsync" else plain(*arguments, **options)  # which takes its time

        return call

    def _open(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+") or not str(file).startswith(self.folder):
                return plain(file, mode, *arguments, **options)
            self.touch(file)
            return Written(plain(file, mode, *arguments, **options), self, file)

        return call

    def _save(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensors: Any, file: Any, *arguments: Any, **options: Any) -> None:
            self.touch(file)
            plain(tensors, file, *arguments, **options)
            half(file, lambda: self.touch(file))

        return call


class Written:
    """A file whose writes are counted; a process that dies at one leaves half of it."""

    def __init__(self, file: Any, disk: Disk, path: Any) -> None:
        self.file, self.disk, self.path = file, disk, path

    def write(self, content: Any) -> Any:
        try:
            self.disk.touch(self.path)
        except Died:
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            raise
        written = self.file.write(content)
        self.file.flush()
        return written

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def half(file: Any, work: Callable[[], None]) -> None:
    """Leave half of a file if `work` fails."""
    try:
        work()
    except BaseException:
        os.truncate(file, os.path.getsize(file) // 2)
        raise

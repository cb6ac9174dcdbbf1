"""Where files of images lie: a folder, a tar archive or a zip archive, read in place. Nothing is ever unpacked."""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from flowops.data.files.paths import check_folder, check_present

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
_LARGEST = 1 << 28  # bytes of one file; more is no image, but an archive made to fill the memory


class Source(ABC):
    """Files of images below `path`: those with one of `SUFFIXES` whose path has no part that starts with a dot."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Their paths from the top, with slashes, sorted.

        Raises:
            ValueError: for links, files of the same name, and archives that cannot be read.
        """

    @abstractmethod
    def read(self, only: str | None = None) -> Iterator[tuple[str, bytes]]:
        """Each name with its content, in the order in which they are stored; or that of one name."""

    def stamp(self) -> str:
        """What changes when the files change: a hash of names, sizes and times."""
        return stamp([self.path])

    def refuse(self, name: str, what: str) -> ValueError:
        """The error for a file of this source."""
        return ValueError(f"`path` must hold {what}, got {name} in {self.path}; replace or remove it.")


def open_source(path: Path | str | None) -> Source:
    """The source at `path`.

    Raises:
        OSError: if there is nothing.
        ValueError: for an empty folder, or a file that is no archive.
    """
    path = check_present(path, "a folder or an archive of images")
    if path.is_dir():
        return _Folder(check_folder(path, "a folder of images"))
    if path.name.lower().endswith(TARS):
        return _Tar(path)
    if path.suffix.lower() == ".zip":
        return _Zip(path)
    raise ValueError(
        f"`path` must be a folder of images, or an archive ending in {', '.join(TARS)} or .zip, got the file "
        f"{path}; name the folder it lies in."
    )


class _Folder(Source):
    def names(self) -> list[str]:
        return self._listed

    @cached_property
    def _listed(self) -> list[str]:
        found: list[str] = []
        for folder, inner, files in os.walk(self.path):
            inner[:] = [name for name in inner if not name.startswith(".")]
            prefix = "" if folder == str(self.path) else f"{Path(folder).relative_to(self.path).as_posix()}/"
            for name in inner:
                if os.path.islink(os.path.join(folder, name)):
                    raise self.refuse(prefix + name, "no links to folders")
            found += [prefix + name for name in files if _wanted(name)]
        return sorted(found)

    def read(self, only: str | None = None) -> Iterator[tuple[str, bytes]]:
        for name in self._listed if only is None else [only]:
            file = self.path / name
            found = file.stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise self.refuse(name, "files of at most 256 MB each")
            yield name, file.read_bytes()

    def stamp(self) -> str:
        return stamp([self.path / name for name in self._listed], self.path)


class _Tar(Source):
    def names(self) -> list[str]:
        with self._open() as archive:
            return _distinct(self, [_plain(member.name) for member in self._members(archive)])

    def read(self, only: str | None = None) -> Iterator[tuple[str, bytes]]:
        with self._open() as archive:
            for member in self._members(archive):
                content = archive.extractfile(member) if only in (None, _plain(member.name)) else None
                if content is not None:
                    yield _plain(member.name), content.read()

    def _members(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        for member in archive:
            if member.isdir() or not _wanted(member.name):
                continue
            if not member.isfile():
                raise self.refuse(member.name, "files only, no links or devices")
            if member.size > _LARGEST:
                raise self.refuse(member.name, "files of at most 256 MB each")
            yield member

    @contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        with _readable(self.path), tarfile.open(self.path) as archive:
            yield archive


class _Zip(Source):
    def names(self) -> list[str]:
        with self._open() as archive:
            return _distinct(self, [_plain(info.filename) for info in self._members(archive)])

    def read(self, only: str | None = None) -> Iterator[tuple[str, bytes]]:
        with self._open() as archive:
            for info in self._members(archive):
                if only in (None, _plain(info.filename)):
                    yield _plain(info.filename), archive.read(info)

    def _members(self, archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
        for info in archive.infolist():
            if info.is_dir() or not _wanted(info.filename):
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise self.refuse(info.filename, "files only, no links or devices")
            if info.file_size > _LARGEST:
                raise self.refuse(info.filename, "files of at most 256 MB each")
            if info.flag_bits & 1:
                raise self.refuse(info.filename, "files without a password")
            yield info

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with _readable(self.path), zipfile.ZipFile(self.path) as archive:
            yield archive


def stamp(files: Iterable[Path], top: Path | None = None) -> str:
    """A hash of the names below `top` (or the last parts of the paths), the sizes and the times of files."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        found = file.stat()
        name = file.relative_to(top).as_posix() if top else file.name
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """The errors of broken archives, as one sentence."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"`path` must be a whole archive, got {path}: {error}; fetch it again.") from error


def _wanted(name: str) -> bool:
    parts = _plain(name).split("/")
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in parts)


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _distinct(source: Source, names: list[str]) -> list[str]:
    names.sort()
    for name, following in zip(names, names[1:], strict=False):
        if name == following:
            raise source.refuse(name, "every file once")
    return names

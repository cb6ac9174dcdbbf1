"""Folders and archives: the same names and bytes from each; links, duplicates and broken archives are refused."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from flowops.data.files.sources import open_source
from tests.data.image_files import written_folder, written_tar, written_zip

FILES = {"b/2.png": b"two", "a/1.JPG": b"one", "a/deep/er/3.webp": b"three"}
OTHERS = {"README.txt": b"", "a/.hidden.png": b"", ".cache/x.png": b"", "a/._1.png": b""}


def sources(folder: Path, files: dict[str, bytes]) -> list[Path]:
    tars = [written_tar(folder / f"x{suffix}", files) for suffix in (".tar", ".tar.gz", ".tar.xz", ".tar.bz2")]
    return [written_folder(folder / "tree", files), *tars, written_zip(folder / "x.zip", files)]


def test_every_kind_has_the_same_names_and_contents(tmp_path: Path) -> None:
    for path in sources(tmp_path, FILES | OTHERS):
        source = open_source(path)
        assert source.names() == sorted(FILES)
        assert dict(source.read()) == FILES


def test_names_that_start_at_the_current_folder_are_the_same_names(tmp_path: Path) -> None:
    for path in (
        written_tar(tmp_path / "x.tar", {"./a/1.png": b"1"}),
        written_zip(tmp_path / "x.zip", {"./a/1.png": b""}),
    ):
        assert open_source(path).names() == ["a/1.png"]


def test_the_stamp_tells_when_files_have_changed(tmp_path: Path) -> None:
    for path in sources(tmp_path, FILES):
        before = open_source(path).stamp()
        assert open_source(path).stamp() == before
        changed = path / "a/1.JPG" if path.is_dir() else path
        os.utime(changed, ns=(1, 1))
        assert open_source(path).stamp() != before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match="files only, no links or devices, got a/1.png in .*x.tar"):
        open_source(tmp_path / "x.tar").names()


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a/1.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="no links or devices, got a/1.png"):
        open_source(tmp_path / "x.zip").names()


def test_links_to_folders_in_a_folder_are_refused(tmp_path: Path) -> None:
    written_folder(tmp_path / "tree", FILES)
    (tmp_path / "tree/c").symlink_to(tmp_path / "tree/a")
    with pytest.raises(ValueError, match="no links to folders, got c in"):
        open_source(tmp_path / "tree").names()


@pytest.mark.filterwarnings("ignore:Duplicate name")  # what zipfile says while the bad archive is written
def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for content in (b"1", b"2"):
            member = tarfile.TarInfo("a/1.png")
            member.size = 1
            tar.addfile(member, io.BytesIO(content))
            archive.writestr("a/1.png", content)
    for name in ("x.tar", "x.zip"):
        with pytest.raises(ValueError, match="every file once, got a/1.png"):
            open_source(tmp_path / name).names()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".zip"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_broken_archive_is_named(suffix: str, damage: str, tmp_path: Path) -> None:
    files = {f"a/{k}.png": bytes(range(256)) * 40 for k in range(3)}
    path = tmp_path / f"x{suffix}"
    (written_zip if suffix == ".zip" else written_tar)(path, files)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3] if damage == "cut" else b"not an archive at all, by no means" * 99)
    with pytest.raises(ValueError, match=f"`path` must be a whole archive, got .*x{suffix}"):
        dict(open_source(path).read())


def test_a_file_too_large_for_a_image_is_refused_unread(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.size = 1 << 40
        assert archive.fileobj is not None
        archive.fileobj.write(member.tobuf())
    with pytest.raises(ValueError, match="files of at most 256 MB each, got a/1.png"):
        next(open_source(tmp_path / "x.tar").read())
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree/1.png").open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(ValueError, match="files of at most 256 MB each, got 1.png"):
        next(open_source(tmp_path / "tree").read())


def test_a_path_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.rar").write_bytes(b"")
    for path, error, sentence in (
        (None, ValueError, "`path` must be a folder or an archive of images, got none"),
        (tmp_path / "gone", FileNotFoundError, "got .*gone, where there is nothing"),
        (tmp_path / "empty", ValueError, "got the empty folder .*empty"),
        (tmp_path / "x.rar", ValueError, "or an archive ending in .tar, .*got the file .*x.rar"),
    ):
        with pytest.raises(error, match=sentence):
            open_source(path)

"""Packed arrays: read back as they were written, once for all processes, whole or not at all, never under a reader."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flowops.data.files.packed import Allocate, Content, Packed, load, packed_once
from tests.programs import run

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 4), dtype=np.uint8)
LABELS = np.array([4, 0, 1, 2, 2])


def fill(allocate: Allocate) -> Content:
    allocate("train", PIXELS.shape)[:] = PIXELS
    allocate("test", (2, 3, 2, 4))[:] = PIXELS[:2]
    return Content({"train": LABELS}, ("a", "b"), "what it is")


def inverted(allocate: Allocate) -> Content:
    allocate("train", PIXELS.shape)[:] = 255 - PIXELS
    return Content({}, (), "another set")


def arrays(folder: Path) -> list[str]:
    """Of which splits and labels there are files, each once."""
    return sorted(file.name.rpartition("-")[0] for file in folder.iterdir() if file.suffix == ".npy")


def is_whole(packed: Packed | None) -> None:
    assert packed is not None
    assert (packed.classes, packed.provenance) == (("a", "b"), "what it is")
    train, test = packed.splits["train"], packed.splits["test"]
    assert train.labels is not None
    assert torch.equal(train.pixels, torch.from_numpy(PIXELS))
    assert torch.equal(train.labels, torch.from_numpy(LABELS))
    assert torch.equal(test.pixels, torch.from_numpy(PIXELS[:2]))
    assert test.labels is None


def test_what_was_packed_is_read_back(tmp_path: Path) -> None:
    is_whole(packed_once(tmp_path / "x", "stamp", fill))
    is_whole(load(tmp_path / "x", "stamp"))
    assert arrays(tmp_path / "x") == ["test", "train", "train-labels"]


def test_writing_to_what_is_mapped_leaves_the_file_alone(tmp_path: Path) -> None:
    packed_once(tmp_path, "stamp", fill).splits["train"].pixels.zero_()
    is_whole(load(tmp_path, "stamp"))


@pytest.mark.parametrize("damage", ["stamp", "manifest", "no manifest", "array", "cut", "labels", "format", "list"])
def test_what_no_longer_fits_is_not_used_and_packed_anew(damage: str, tmp_path: Path) -> None:
    packed_once(tmp_path, "stamp", fill)
    manifest, (labels,) = tmp_path / "manifest.json", tmp_path.glob("train-labels-*")
    mark = labels.stem.rpartition("-")[2]
    if damage == "manifest":
        manifest.write_text("{")
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "array":
        np.save(tmp_path / f"train-{mark}.npy", PIXELS[:4])
    elif damage == "cut":
        file = tmp_path / f"test-{mark}.npy"
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "labels":
        np.save(labels, LABELS[:3])
    elif damage == "format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))
    elif damage == "list":
        manifest.write_text("[]")
    stamp = "other" if damage == "stamp" else "stamp"
    assert load(tmp_path, stamp) is None
    assert load(tmp_path / "gone", "stamp") is None
    is_whole(packed_once(tmp_path, stamp, fill))
    assert arrays(tmp_path) == ["test", "train", "train-labels"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing(allocate: Allocate) -> Content:
        allocate("train", PIXELS.shape)[:] = PIXELS
        raise ValueError("a file is broken")

    with pytest.raises(ValueError, match="a file is broken"):
        packed_once(tmp_path, "stamp", failing)
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_what_was_packed_before_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    """A reader may be at the old manifest, or have the old arrays mapped, while new ones are made."""
    before = packed_once(tmp_path, "old", fill)

    def slow(allocate: Allocate) -> Content:
        content = inverted(allocate)
        is_whole(load(tmp_path, "old"))
        return content

    after = packed_once(tmp_path, "new", slow)
    is_whole(before)
    assert torch.equal(after.splits["train"].pixels, torch.from_numpy(255 - PIXELS))
    assert arrays(tmp_path) == ["train"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"train-{'0' * 32}.npy"
    left.write_bytes(b"half")
    (tmp_path / "mine.npy").write_bytes(b"of the user")
    packed_once(tmp_path, "stamp", fill)
    assert not left.exists()
    assert (tmp_path / "mine.npy").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`cache` must be a folder to write to, got .*file/x"):
        packed_once(tmp_path / "file" / "x", "stamp", fill)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room")
def test_a_full_disk_is_an_error_before_anything_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int, text: str) -> Callable[..., None]:
        def reserve(*arguments: int) -> None:
            assert arguments[2] >= PIXELS[:2].nbytes
            raise OSError(number, text)

        return reserve

    monkeypatch.setattr(os, "posix_fallocate", fails(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="`cache` must be a folder with room for 120 bytes, got .*No space left"):
        packed_once(tmp_path, "stamp", fill)
    assert arrays(tmp_path) == []

    monkeypatch.setattr(os, "posix_fallocate", fails(errno.EOPNOTSUPP, "not on this disk"))
    is_whole(packed_once(tmp_path, "stamp", fill))


PROCESSES = """
from __future__ import annotations
import os, sys, time, traceback
from pathlib import Path
import filelock, numpy as np, torch
from flowops.data.files.packed import Content, packed_once

folder, number, locks = Path(__file__).parent, 4, {locks!r}
own = os.getpid
os.getpid = lambda: 7  # as in containers that share a disk
if not locks:
    def none(*_, **__):
        raise NotImplementedError("this disk knows no locks")
    filelock.FileLock.acquire = filelock.FileLock.__enter__ = none

def fill(allocate):
    with (folder / "packings").open("a") as file:
        file.write("once\\n")
    pixels = allocate("train", (4000, 3, 8, 8))
    time.sleep(0.3)
    for row in range(len(pixels)):
        pixels[row] = row % 251
    return Content({{"train": np.arange(4000)}}, (), "many")

def work(start):
    while time.time() < start:
        pass
    train = packed_once(folder / "cache", "stamp", fill).splits["train"]
    assert torch.equal(train.pixels[:, 0, 0, 0].long(), torch.arange(4000) % 251)
    assert torch.equal(train.labels, torch.arange(4000))

start, children = time.time() + 0.2, []
for _ in range(number):
    child = os.fork()
    if child == 0:
        try:
            work(start)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
print(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_open_a_set_together_pack_it_once_and_never_collide(locks: bool, tmp_path: Path) -> None:
    """All have one process number. Where the disk knows no locks each packs for itself, in no other's way."""
    assert run(tmp_path, PROCESSES.format(locks=locks)).split() == ["0"]
    packings = (tmp_path / "packings").read_text().split()
    assert len(packings) == 1 if locks else len(packings) > 1
    assert load(tmp_path / "cache", "stamp") is not None
    if locks:
        assert arrays(tmp_path / "cache") == ["train", "train-labels"]

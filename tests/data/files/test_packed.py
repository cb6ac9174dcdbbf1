"""Packed arrays: read back as they were written, packed anew when anything no longer fits, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flowops.data.files.packed import Allocate, Content, load, pack

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 4), dtype=np.uint8)
LABELS = np.array([4, 0, 1, 2, 2])


def fill(allocate: Allocate) -> Content:
    allocate("train", PIXELS.shape)[:] = PIXELS
    allocate("test", (2, 3, 2, 4))[:] = PIXELS[:2]
    return Content({"train": LABELS}, ("a", "b"), "what it is")


def test_what_was_packed_is_read_back(tmp_path: Path) -> None:
    for packed in (pack(tmp_path / "x", "stamp", fill), load(tmp_path / "x", "stamp")):
        assert packed is not None
        assert (packed.classes, packed.provenance) == (("a", "b"), "what it is")
        train, test = packed.splits["train"], packed.splits["test"]
        assert train.labels is not None
        assert torch.equal(train.pixels, torch.from_numpy(PIXELS))
        assert torch.equal(train.labels, torch.from_numpy(LABELS))
        assert torch.equal(test.pixels, torch.from_numpy(PIXELS[:2]))
        assert test.labels is None


def test_writing_to_what_is_mapped_leaves_the_file_alone(tmp_path: Path) -> None:
    pack(tmp_path, "stamp", fill).splits["train"].pixels.zero_()
    again = load(tmp_path, "stamp")
    assert again is not None
    assert torch.equal(again.splits["train"].pixels, torch.from_numpy(PIXELS))


@pytest.mark.parametrize("damage", ["stamp", "manifest", "no manifest", "array", "cut", "labels", "format", "list"])
def test_what_no_longer_fits_is_not_used(damage: str, tmp_path: Path) -> None:
    pack(tmp_path, "stamp", fill)
    manifest = tmp_path / "manifest.json"
    if damage == "manifest":
        manifest.write_text("{")
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "array":
        np.save(tmp_path / "train.npy", PIXELS[:4])
    elif damage == "cut":
        (tmp_path / "test.npy").write_bytes((tmp_path / "test.npy").read_bytes()[:-10])
    elif damage == "labels":
        np.save(tmp_path / "train-labels.npy", LABELS[:3])
    elif damage == "format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))
    elif damage == "list":
        manifest.write_text("[]")
    assert load(tmp_path, "other" if damage == "stamp" else "stamp") is None
    assert load(tmp_path / "gone", "stamp") is None


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing(allocate: Allocate) -> Content:
        allocate("train", PIXELS.shape)[:] = PIXELS
        raise ValueError("a file is broken")

    with pytest.raises(ValueError, match="a file is broken"):
        pack(tmp_path, "stamp", failing)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`cache` must be a folder to write to, got .*file/x"):
        pack(tmp_path / "file" / "x", "stamp", fill)

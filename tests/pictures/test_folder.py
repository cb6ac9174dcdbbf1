"""A folder of pictures: one file for each number, kept where the settings are the same, refused where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops.data import to_uint8
from flowops.pictures import PictureFolder
from tests.images import Image, read

SETTINGS: dict[str, Any] = {"seed": 3, "sampler": {"grid": (0.0, 0.5, 1.0)}, "label": None}


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_every_sample_has_a_file_of_its_number(tmp_path: Path, channels: int, mode: str) -> None:
    x = drawn(3, channels, 4, 5)
    folder = PictureFolder(tmp_path / "new", SETTINGS)
    folder.add(10, x[:2])
    folder.add(1_000_000, x[2:])
    assert folder.held == {10, 11, 1_000_000}
    names = ["000010.png", "000011.png", "1000000.png", "samples.json"]
    assert sorted(file.name for file in folder.path.iterdir()) == names
    for name, image in zip(names, to_uint8(x), strict=False):
        with Image.open(folder.path / name) as picture:
            assert picture.mode == mode
        assert (read(folder.path / name) == image.expand(3, -1, -1).permute(1, 2, 0).numpy()).all()


def test_a_folder_of_the_same_settings_keeps_what_it_has(tmp_path: Path) -> None:
    PictureFolder(tmp_path, SETTINGS).add(0, drawn(3, 1, 4, 4))
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (tmp_path / ".000007.0a.png").write_text("what a process left that was killed")
    again = PictureFolder(tmp_path, SETTINGS)
    assert again.held == {0, 1, 2}
    again.add(1, -drawn(4, 1, 4, 4))
    after = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert after.keys() == before.keys() | {"000003.png", "000004.png"}
    assert all(after[name] == before[name] for name in before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "with seed 3 in place of 4"),
        ({"sampler": {"grid": (0.0, 1.0)}}, "with sampler .*0.5.* in place of"),
        ({"guidance": 1.5}, "with guidance None in place of 1.5"),
    ],
)
def test_pictures_of_other_settings_are_not_mixed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    PictureFolder(tmp_path, SETTINGS).add(0, drawn(1, 1, 4, 4))
    with pytest.raises(ValueError, match=f"must be a new folder or one of the same samples, .* {message}"):
        PictureFolder(tmp_path, {**SETTINGS, **change})


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_folder_of_other_things_is_refused_and_left(tmp_path: Path, text: str | None) -> None:
    name = "notes.txt" if text is None else "samples.json"
    (tmp_path / name).write_text(text or "")
    (tmp_path / ".mine.png").write_text("")
    with pytest.raises(ValueError, match="holds other things"):
        PictureFolder(tmp_path, SETTINGS)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(NotADirectoryError, match="must be a folder, and .*x is a file"):
        PictureFolder(tmp_path / "x", SETTINGS)


def test_images_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "new", SETTINGS)
    with pytest.raises(ValueError, match="must be finite to become an image"):
        folder.add(0, torch.full((1, 1, 4, 4), torch.nan))
    assert json.loads((folder.path / "samples.json").read_text())["seed"] == 3
    assert folder.held == set()

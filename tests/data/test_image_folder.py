"""Folders and archives of images: layouts, pixels, modes, errors that name the file, and mapped files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flowops.data import Images, image_folder, open_dataset
from flowops.data.image_folder import open_folder
from tests.data.image_files import Pixels, encoded, pixels, planes, written_folder, written_tar, written_zip

NAMES = ["dog/b.png", "cat/z.png", "cat/a.png", "dog/inner/c.png"]


def files(names: list[str], first: int = 0, **options: Any) -> tuple[dict[str, bytes], dict[str, Pixels]]:
    arrays = {name: pixels(first + k, **options) for k, name in enumerate(names)}
    return {name: encoded(array) for name, array in arrays.items()}, arrays


def held(images: Images, split: str = "train") -> list[Pixels]:
    return list(images.pixels(split).numpy())


def labels(images: Images, split: str = "train") -> list[int]:
    found = images.splits[split].labels
    assert found is not None
    return found.tolist()


def same(images: list[Pixels], arrays: list[Pixels]) -> bool:
    return len(images) == len(arrays) and all(np.array_equal(a, planes(b)) for a, b in zip(images, arrays, strict=True))


def test_classes_are_the_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    contents, arrays = files(NAMES)
    images = open_folder(written_folder(tmp_path / "x", contents))
    assert images.classes == ("cat", "dog")
    assert labels(images) == [0, 0, 1, 1]
    assert same(held(images), [arrays[name] for name in sorted(NAMES)])
    assert images.event == torch.Size([3, 4, 5])


def test_an_archive_is_the_same_set_as_its_folder(tmp_path: Path) -> None:
    contents, _ = files(NAMES)
    paths = [
        written_folder(tmp_path / "x", contents),
        *(written_tar(tmp_path / f"x{suffix}", contents) for suffix in (".tar", ".tar.gz", ".tar.xz")),
        written_zip(tmp_path / "x.zip", contents),
    ]
    sets = [open_folder(path) for path in paths]
    for images in sets[1:]:
        assert torch.equal(images.pixels(), sets[0].pixels())
        assert images.classes == sets[0].classes
        assert labels(images) == labels(sets[0])
        assert images.provenance.split(": ")[1] == sets[0].provenance.split(": ")[1]
        assert torch.equal(images.batch(3, 5, seed=1).x1, sets[0].batch(3, 5, seed=1).x1)


@pytest.mark.parametrize(("write", "name"), [(written_folder, "x"), (written_tar, "x.tar"), (written_zip, "x.zip")])
def test_the_first_image_by_name_says_how_many_channels_wherever_it_is_stored(
    write: Any, name: str, tmp_path: Path
) -> None:
    grey, colour = encoded(pixels(0, channels=1)), encoded(pixels(1))
    assert open_folder(write(tmp_path / name, {"2.png": grey, "1.png": colour})).event == (3, 4, 5)


def test_the_fingerprint_tells_a_changed_pixel_and_a_changed_label(tmp_path: Path) -> None:
    contents, arrays = files(NAMES)
    changed = arrays["cat/a.png"].copy()
    changed[0, 0, 0] ^= 1
    variants = [
        contents,
        contents | {"cat/a.png": encoded(changed)},
        {name.replace("cat/z", "dog/a"): content for name, content in contents.items()},
    ]
    found = {
        open_folder(written_folder(tmp_path / str(k), v)).provenance.split("sha256 ")[1] for k, v in enumerate(variants)
    }
    assert len(found) == len(variants)


def test_images_in_one_folder_have_no_labels(tmp_path: Path) -> None:
    contents, arrays = files(["b.png", "a.png"])
    images = open_folder(written_folder(tmp_path / "x", contents))
    assert images.classes == ()
    assert images.batch(0, 2, seed=0).labels is None
    assert same(held(images), [arrays["a.png"], arrays["b.png"]])


@pytest.mark.parametrize("second", ["test", "val", "valid", "validation"])
def test_folders_named_after_splits_are_splits(second: str, tmp_path: Path) -> None:
    contents, arrays = files(["train/dog/1.png", "train/cat/1.png", f"{second}/dog/1.png"])
    images = open_folder(written_folder(tmp_path / "x", contents))
    assert images.classes == ("cat", "dog")
    assert (labels(images), labels(images, "test")) == ([0, 1], [1])
    assert same(held(images, "test"), [arrays[f"{second}/dog/1.png"]])
    reference = images.reference(1, split="test")
    assert reference.labels is not None
    assert reference.labels.tolist() == [1]


def test_test_and_validation_sets_are_both_kept(tmp_path: Path) -> None:
    contents, _ = files(["train/1.png", "test/1.png", "val/1.png"])
    images = open_folder(written_tar(tmp_path / "x.tar", contents))
    assert list(images.splits) == ["train", "test", "val"]
    assert images.batch(0, 1, seed=0).labels is None


def test_a_folder_around_everything_is_looked_through(tmp_path: Path) -> None:
    contents, _ = files(["set/inner/train/cat/1.png", "set/inner/train/dog/1.png", "set/inner/test/dog/1.png"])
    images = open_folder(written_zip(tmp_path / "x.zip", contents))
    assert images.classes == ("cat", "dog")
    assert list(images.splits) == ["train", "test"]


def test_images_in_folders_and_beside_them_are_refused(tmp_path: Path) -> None:
    contents, _ = files(["cat/1.png", "dog/1.png", "stray.png"])
    with pytest.raises(ValueError, match="all in one folder, not both, got stray.png in .*x"):
        open_folder(written_folder(tmp_path / "x", contents))


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", "jpg"), ("JPEG", "JPEG"), ("BMP", "bmp"), ("WEBP", "webp")])
def test_pixels_are_those_of_the_decoder(form: str, suffix: str, tmp_path: Path) -> None:
    content = encoded(pixels(0, 16, 16), form)
    images = open_folder(written_folder(tmp_path / "x", {f"1.{suffix}": content}))
    with Image.open(tmp_path / "x" / f"1.{suffix}") as found:
        assert same(held(images), [np.asarray(found)])


def test_grey_images_have_one_channel_unless_colour_is_asked_for(tmp_path: Path) -> None:
    contents, arrays = files(["1.png", "2.png"], channels=1)
    path = written_folder(tmp_path / "x", contents)
    assert same(held(open_folder(path)), list(arrays.values()))
    coloured = open_folder(path, channels=3)
    assert same(held(coloured), [np.stack([array] * 3, 2) for array in arrays.values()])


def test_a_mixture_of_modes_is_refused_or_becomes_colour_when_asked_for(tmp_path: Path) -> None:
    grey, colour = pixels(0, channels=1), pixels(1)
    path = written_folder(tmp_path / "x", {"1.png": encoded(grey), "2.png": encoded(colour)})
    with pytest.raises(ValueError, match=r"grey images .*pass channels=3 .*got mode RGB, at 2.png"):
        open_folder(path)
    assert same(held(open_folder(path, channels=3)), [np.stack([grey] * 3, 2), colour])


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "I;16", "LA"])
def test_modes_that_lose_something_are_refused(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (5, 4))
    path = tmp_path / "x" / ("1.jpg" if mode == "CMYK" else "1.png")
    path.parent.mkdir()
    image.save(path)
    told = {"CMYK": "", "I;16": r" \(pass depth=8 .*\)"}.get(mode, r" \(pass alpha=white or alpha=black .*\)")
    for channels in (None, 1, 3):  # none of which would help
        kind = "grey" if channels == 1 else "colour"
        with pytest.raises(
            ValueError, match=f"{kind} images of 8 bits per channel{told}, got mode {mode}, at {path.name}"
        ):
            open_folder(path.parent, channels=channels)


def test_palettes_are_colours(tmp_path: Path) -> None:
    image = Image.fromarray(pixels(3)).quantize(8)
    (tmp_path / "x").mkdir()
    image.save(tmp_path / "x/1.png")
    assert same(held(open_folder(tmp_path / "x")), [np.asarray(image.convert("RGB"))])


def test_another_size_names_the_file_its_size_and_the_expected_one(tmp_path: Path) -> None:
    contents = {"a/1.png": encoded(pixels(0, 4, 5)), "b/2.png": encoded(pixels(1, 7, 6))}
    with pytest.raises(ValueError, match=r"5 x 4 as its first \(pass size=5, .*\), got 6 x 7, at b/2.png in .*x"):
        open_folder(written_folder(tmp_path / "x", contents))


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "gif"])
def test_a_broken_file_is_named(kind: str, tmp_path: Path) -> None:
    whole = encoded(pixels(1, 32, 32), "JPEG")
    broken = {
        "cut": whole[: len(whole) // 2],
        "text": b"no image",
        "empty": b"",
        "gif": encoded(pixels(1)[..., 0], "GIF"),
    }
    contents = {"a.jpg": encoded(pixels(0, 32, 32), "JPEG"), "b.jpg": broken[kind], "c.jpg": whole}
    for path in (written_folder(tmp_path / "x", contents), written_tar(tmp_path / "x.tar", contents)):
        with pytest.raises(ValueError, match=f"whole PNG, JPEG, BMP, WEBP images, got b.jpg in .*{path.name}"):
            open_folder(path)


def test_many_files_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowops.data.files.decoding._CHUNK", 3)
    names = [f"{k:03d}.png" for k in range(100)]
    contents, arrays = files(names)
    assert same(held(open_folder(written_folder(tmp_path / "x", contents))), list(arrays.values()))


def test_a_large_set_is_mapped_from_a_file_and_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, _ = files([f"train/{name}" for name in NAMES] + ["test/cat/1.png"])
    path = written_folder(tmp_path / "x", contents)
    small = open_folder(path)
    monkeypatch.setattr(image_folder, "_RESIDENT", 0)
    large = open_folder(path)
    assert sorted(file.name.rpartition("-")[0] or file.name for file in (path / ".flowops").iterdir()) == [
        "lock",
        "manifest.json",
        "test",
        "test-labels",
        "train",
        "train-labels",
    ]
    for images in (large, open_folder(path, cache=tmp_path / "elsewhere")):
        assert images.provenance == small.provenance
        assert torch.equal(images.batch(1, 9, seed=0).x1, small.batch(1, 9, seed=0).x1)
        assert torch.equal(images.reference(1, split="test").x1, small.reference(1, split="test").x1)
    monkeypatch.setattr(image_folder, "read", None)
    assert open_folder(path).provenance == small.provenance  # nothing was read again


def test_a_large_archive_is_packed_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_RESIDENT", 0)
    contents, arrays = files(["1.png", "2.png"])
    assert same(held(open_folder(written_tar(tmp_path / "x.tar", contents))), list(arrays.values()))
    assert list((tmp_path / ".x.tar.flowops").glob("train-*.npy"))


def test_flips_are_the_default_and_can_be_left_out(tmp_path: Path) -> None:
    contents, arrays = files(["1.png"])
    written_folder(tmp_path / "x", contents)
    for flip, different in ((True, 2), (False, 1)):
        images = open_dataset(f"folder:{tmp_path / 'x'}", flip=flip)
        assert len({tuple(images.batch(k, 1, seed=0).x1.flatten().tolist()) for k in range(20)}) == different


def test_unsuitable_arguments_are_refused(tmp_path: Path) -> None:
    written_folder(tmp_path / "x", {"notes.txt": b""})
    with pytest.raises(ValueError, match="`path` must hold images ending in .png, .*, got none in .*x"):
        open_folder(tmp_path / "x")
    with pytest.raises(ValueError, match="`channels` must be 1, 3 or None, got 4"):
        open_folder(tmp_path / "x", channels=4)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["folder", "imagenet32"])
def test_an_unknown_word_for_where_images_lie_is_refused_before_any_is_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`resident` must be true, false or auto, got 'no'; choose one of them"):
        open_dataset(f"{name}:{tmp_path}", resident="no")

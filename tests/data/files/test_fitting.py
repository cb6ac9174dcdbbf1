"""Images brought to a size, a colour and a depth: means where they are known, what is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flowops.data import image_folder, open_dataset
from flowops.data.files.fitting import Fit
from tests.data.image_files import encoded, pixels, written_folder, written_tar


def mixed(folder: Path) -> Path:
    """Images of several sizes and modes."""
    files = {f"{k}.png": encoded(pixels(k, 7 + k, 12 - k)) for k in range(4)}
    return written_folder(folder, files)


@pytest.mark.parametrize("resize", ["box", "bilinear", "bicubic", "lanczos"])
def test_a_constant_image_stays_constant_and_a_mean_stays_a_mean(resize: str) -> None:
    flat = Image.fromarray(np.full((30, 50, 3), 77, np.uint8))
    assert np.asarray(Fit(8, resize).sized(flat)).tolist() == np.full((8, 8, 3), 77).tolist()
    noise = pixels(0, 64, 64)
    small = np.asarray(Fit(8, resize).sized(Image.fromarray(noise))).astype(float)
    assert abs(small.mean() - noise.mean()) < 1.5
    assert small.std() < 0.4 * noise.std()  # antialiased: taking every eighth pixel would keep the spread


def test_a_box_is_the_mean_of_its_pixels() -> None:
    image = pixels(1, 8, 8)
    means = image.reshape(4, 2, 4, 2, 3).mean((1, 3))
    assert (
        np.abs(np.asarray(Fit(4, "box").sized(Image.fromarray(image))) - means).max() <= 1
    )  # rounded in either direction
    assert np.abs(image[::2, ::2] - means).max() > 10


def test_the_middle_is_cut_out_and_the_whole_is_stretched() -> None:
    image = np.zeros((6, 14, 3), np.uint8)
    image[:, 4:10] = 200  # the square in the middle
    assert np.asarray(Fit(6).sized(Image.fromarray(image))).min() == 200
    assert np.asarray(Fit(4, None).sized(Image.fromarray(image))).min() == 200
    stretched = np.asarray(Fit(14, "box", None).sized(Image.fromarray(image)))
    assert stretched[:, :4].max() == 0
    assert stretched[:, 4:10].min() == 200
    cropped = np.asarray(Fit(2, None).sized(Image.fromarray(pixels(0, 6, 14))))
    assert np.array_equal(cropped, pixels(0, 6, 14)[2:4, 6:8])


def test_transparency_is_a_mixture_with_the_ground() -> None:
    values = np.concatenate([pixels(3), pixels(4)[..., :1]], 2)
    for ground, colour in (("white", 255), ("black", 0)):
        found = np.asarray(Fit(alpha=ground).plain(Image.fromarray(values, "RGBA"))).astype(float)
        share = values[..., 3:] / 255
        assert np.abs(found - (share * values[..., :3] + (1 - share) * colour)).max() <= 1
    grey = Fit(alpha="white").plain(Image.fromarray(values[..., :2].copy(), "LA"))
    assert grey.mode == "L"


def test_sixteen_bits_are_rounded() -> None:
    values = np.array([[0, 128, 129, 257, 40000, 65535]], np.uint16)
    found = np.asarray(Fit(depth=8).plain(Image.fromarray(values)))
    assert found.tolist() == [[0, 0, 1, 1, 156, 255]]


def test_a_folder_of_many_sizes_becomes_one_set_and_its_fingerprint_says_how(tmp_path: Path) -> None:
    path = mixed(tmp_path / "x")
    with pytest.raises(ValueError, match=r"images of one size, 12 x 7 .*\(pass size=12, say, .*\), got 11 x 8, at 1"):
        open_dataset(f"folder:{path}")
    bicubic, box = (open_dataset(f"folder:{path}", size=4, resize=kind) for kind in ("bicubic", "box"))
    assert bicubic.event == (3, 4, 4)
    assert "4 train images in no classes, 3 x 4 x 4, resized bicubic, cropped center, sha256" in bicubic.provenance
    assert bicubic.provenance.split("sha256")[1] != box.provenance.split("sha256")[1]
    archive = written_tar(tmp_path / "x.tar", {file.name: file.read_bytes() for file in sorted(path.glob("*.png"))})
    again = open_dataset(f"folder:{archive}", size=4)
    assert torch.equal(again.batch(2, 5, seed=1).x1, bicubic.batch(2, 5, seed=1).x1)
    assert again.provenance.split(": ")[1] == bicubic.provenance.split(": ")[1]


def test_a_folder_packed_at_one_size_is_packed_anew_at_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mixed(tmp_path / "x")
    plain = {options: open_dataset(f"folder:{path}", **dict(options)).provenance for options in OPTIONS}
    monkeypatch.setattr(image_folder, "_RESIDENT", 0)
    for options in (*OPTIONS, *OPTIONS):
        assert open_dataset(f"folder:{path}", **dict(options)).provenance == plain[options]
    assert len(set(plain.values())) == len(OPTIONS)


OPTIONS: tuple[tuple[tuple[str, Any], ...], ...] = (
    (("size", 4),),
    (("size", 4), ("resize", "box")),
    (("size", 4), ("crop", None)),
    (("size", 5),),
)


def test_modes_that_are_refused_are_taken_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    values = np.concatenate([pixels(3, 9, 9), pixels(4, 9, 9)[..., :1]], 2)
    Image.fromarray(values, "RGBA").save(tmp_path / "x/a.png")
    Image.fromarray(pixels(5, 9, 9)[..., 0].astype(np.uint16) * 257).save(tmp_path / "x/b.png")
    options: dict[str, Any] = {"alpha": "white", "depth": 8, "channels": 3, "flip": False}
    images = open_dataset(f"folder:{tmp_path / 'x'}", **options)
    assert "alpha over white, 16 bits rounded to 8" in images.provenance
    deep = images.splits["train"].pixels[1]  # type: ignore[attr-defined]
    assert np.array_equal(deep.numpy(), np.stack([pixels(5, 9, 9)[..., 0]] * 3))
    for left_out, mode in (("alpha", "RGBA"), ("depth", "I;16")):
        with pytest.raises(ValueError, match=rf"\(pass {left_out}=.*\), got mode {mode}"):
            open_dataset(f"folder:{tmp_path / 'x'}", **{k: v for k, v in options.items() if k != left_out})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 0}, "`size` must be a whole number of at least 1, got 0; pass size=64, say."),
        ({"size": "64"}, "`size` must be a whole number of at least 1, got '64'"),
        (
            {"size": 8, "resize": "nearest"},
            "`resize` must be one of box, .*, lanczos, none, got 'nearest'",
        ),
        ({"size": 8, "crop": "random"}, "`crop` must be one of center, none, got 'random'"),
        ({"size": 8, "crop": None, "resize": None}, "`resize` and `crop` must not both be none with a `size`"),
        ({"resize": "box"}, "`size` must be given with `resize` or `crop`, got None"),
        ({"alpha": "red"}, "`alpha` must be one of white, black, none, got 'red'"),
        ({"depth": 16}, "`depth` must be 8 or None, got 16"),
        ({"size": 11, "resize": None}, "of at least 11 x 11 where they are cropped only, got 12 x 7, at 0.png in"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_dataset(f"folder:{mixed(tmp_path / 'x')}", **options)

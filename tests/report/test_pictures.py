"""Pictures are read back: their sizes, their pixels, where the points are, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops.report import save_comparison, save_curve, save_pictures
from tests.examples import normal

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")


def read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def ramp(n: int, c: int, side: int) -> Tensor:
    """Images that differ in every pixel as far as bytes allow."""
    return torch.linspace(-1, 1, n * c * side * side).reshape(n, c, side, side)


def test_every_pixel_stands_where_it_belongs(tmp_path: Path) -> None:
    x = ramp(5, 3, 4)
    save_pictures(tmp_path / "a" / "x.png", x, columns=3, scale=2)
    picture = read(tmp_path / "a" / "x.png")
    assert picture.shape == (2 * (8 + 2) + 2, 3 * (8 + 2) + 2, 3)
    for k in range(5):
        top, left = 2 + 10 * (k // 3), 2 + 10 * (k % 3)
        tile = picture[top : top + 8, left : left + 8]
        for i, j in ((0, 0), (1, 1), (7, 6), (3, 4)):
            expected = (x[k, :, i // 2, j // 2].double().numpy() + 1) * 127.5
            np.testing.assert_allclose(tile[i, j], expected, atol=0.5)


@pytest.mark.parametrize(("side", "tile"), [(8, 64), (32, 64), (48, 48), (100, 100)])
def test_small_pictures_are_enlarged(tmp_path: Path, side: int, tile: int) -> None:
    save_pictures(tmp_path / "x.png", ramp(4, 1, side))
    assert read(tmp_path / "x.png").shape == (2 * (tile + 2) + 2, 2 * (tile + 2) + 2, 3)


def test_values_outside_are_black_and_white(tmp_path: Path) -> None:
    save_pictures(tmp_path / "x.png", torch.tensor([-3.0, 3.0]).reshape(2, 1, 1, 1), scale=1)
    assert read(tmp_path / "x.png")[2, [2, 5]].tolist() == [[0] * 3, [255] * 3]


def test_points_are_where_they_are(tmp_path: Path) -> None:
    save_pictures(tmp_path / "left.png", torch.tensor([[0.0, 0.0], [1.0, 0.0]] + [[0.0, 1.0]] * 50))
    inked = np.argwhere(read(tmp_path / "left.png")[:, :, 2] - read(tmp_path / "left.png")[:, :, 0] > 60)
    height, width = read(tmp_path / "left.png").shape[:2]
    corners = {(int(2 * i / height), int(2 * j / width)) for i, j in inked}
    assert corners == {(0, 0), (1, 0), (1, 1)}  # (x, y) = (0, 1), (0, 0), (1, 0); rows count downwards


@pytest.mark.parametrize("x", [normal(40, 2), ramp(12, 1, 8), ramp(3, 3, 32)])
def test_a_comparison_of_one_and_of_many_rows(tmp_path: Path, x: Tensor) -> None:
    save_comparison(tmp_path / "one.png", {"1 step": x})
    save_comparison(tmp_path / "five.png", {f"{k} $steps_": x for k in range(5)})
    one, five = (read(tmp_path / f"{name}.png") for name in ("one", "five"))
    assert five.shape[0] > one.shape[0]
    assert min(one.std(), five.std()) > 1


def test_rows_of_a_comparison_may_differ_in_number(tmp_path: Path) -> None:
    save_comparison(tmp_path / "x.png", {"a": ramp(3, 1, 8), "b": ramp(20, 1, 8)})
    save_comparison(tmp_path / "y.png", {"a": normal(30, 2), "b": normal(5, 2)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "y.png"]


def test_points_and_losses_that_are_not_finite_do_not_stop_a_picture(tmp_path: Path) -> None:
    points = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [math.inf, 2.0]])
    save_comparison(tmp_path / "x.png", {"diverged": points})
    save_comparison(tmp_path / "lost.png", {"diverged": points[1:]})
    for name, losses in (("gap", [1.0, math.nan, 0.5]), ("none", [math.nan] * 3), ("negative", [-1.0, 0.0, 2.0])):
        save_curve(tmp_path / f"{name}.png", [1, 2, 3], losses)
    assert read(tmp_path / "gap.png").std() > 1


def test_a_picture_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path / "x.png", ramp(1, 1, 4))
    before = (tmp_path / "x.png").read_bytes()

    def half(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space"):
        save_pictures(tmp_path / "x.png", ramp(2, 1, 4))
    assert (tmp_path / "x.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("save", "sentence"),
    [
        (lambda p: save_pictures(p, torch.ones(3)), r"`x` must be images \[n, c, h, w\].* got shape \[3\]"),
        (lambda p: save_pictures(p, torch.ones(3, 2, 4, 4)), r"with 1 or 3 channels.* got shape \[3, 2, 4, 4\]"),
        (lambda p: save_pictures(p, torch.ones(0, 3, 4, 4)), r"got shape \[0, 3, 4, 4\]"),
        (lambda p: save_pictures(p, torch.ones(3, 3)), r"points \[n, 2\], got shape \[3, 3\]"),
        (lambda p: save_pictures(p, torch.ones(1, 1, 2, 2), columns=0), "`columns` must be at least 1, got 0"),
        (lambda p: save_pictures(p, torch.ones(1, 1, 2, 2), scale=0), "`scale` must be at least 1, got 0"),
        (lambda p: save_pictures(p.with_suffix(".jpg"), torch.ones(1, 1, 2, 2)), "`path` must end in .png, got x.jpg"),
        (lambda p: save_pictures(p, torch.full((1, 1, 2, 2), math.nan)), "`x` must be finite to become a picture"),
        (lambda p: save_comparison(p, {}), "`rows` must hold at least one"),
        (lambda p: save_comparison(p, {"1 step": torch.ones(4)}), r"`rows\['1 step'\]` must be images"),
        (
            lambda p: save_comparison(p, {"a": torch.ones(4, 2), "b": torch.ones(4, 1, 2, 2)}),
            r"`rows` must hold samples of one event, got shapes \[4, 2\], \[4, 1, 2, 2\]",
        ),
        (lambda p: save_curve(p, [1, 2], [1.0]), "must be as many and not empty, got 2 and 1"),
        (lambda p: save_curve(p, [], []), "must be as many and not empty, got 0 and 0"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, save: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        save(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())

"""Pictures are read back: their sizes, their pixels, where the points are, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops.pictures import drawable, drawing, save_comparison, save_curves, save_pictures
from tests.examples import normal
from tests.images import read

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")


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
        save_curves(tmp_path / f"{name}.png", {"loss": ([1, 2, 3], losses)})
    assert read(tmp_path / "gap.png").std() > 1


def drawn(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> Any:
    """The axes of the figure that `save_curves` is about to write."""
    figures: list[Any] = []
    monkeypatch.setattr(drawing, "save_figure", lambda _, figure: figures.append(figure))
    save_curves("nowhere.png", *arguments, **options)
    return figures[0].axes[0]


class TestCurves:
    CURVES: dict[str, Any] = {"a": ([1, 2, 4], [3.0, math.nan, 1.0]), "b": ([1, 3], [0.5, math.inf])}

    def test_they_pass_through_their_places_and_leave_gaps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        axes = drawn(monkeypatch, self.CURVES, labels=("time", "error"))
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        assert list(lines) == ["a", "b"]
        np.testing.assert_array_equal(lines["a"], [[1, 3], [2, math.nan], [4, 1]])
        np.testing.assert_array_equal(lines["b"], [[1, 0.5], [3, math.nan]])
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("time", "error")

    def test_a_level_takes_the_colour_of_its_curve_and_a_stranger_is_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b, level, stranger = drawn(monkeypatch, self.CURVES, levels={"b": 0.2, "bound": 0.7}).lines
        assert a.get_color() != b.get_color() == level.get_color() != stranger.get_color()
        assert [set(line.get_ydata()) for line in (level, stranger)] == [{0.2}, {0.7}]
        assert stranger.get_label() == "bound"

    @pytest.mark.parametrize("logarithmic", ["", "x", "y", "xy"])
    def test_the_axes_asked_for_are_logarithmic(self, logarithmic: str, monkeypatch: pytest.MonkeyPatch) -> None:
        axes = drawn(monkeypatch, self.CURVES, logarithmic=logarithmic)
        for axis, scale in (("x", axes.get_xscale()), ("y", axes.get_yscale())):
            assert scale == ("log" if axis in logarithmic else "linear")

    @pytest.mark.parametrize("count", [4, 30])
    def test_a_few_places_are_the_ticks_of_a_logarithmic_axis(
        self, count: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places = [2**k for k in range(count)]
        axis = drawn(monkeypatch, {"a": (places, places)}, logarithmic="x").xaxis
        told = [label.get_text() for label in axis.get_ticklabels()]
        assert (told == ["1", "2", "4", "8"] and not len(axis.get_minorticklocs())) == (count == 4)

    def test_a_legend_stands_where_there_is_more_than_one_thing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = {"a": self.CURVES["a"]}
        for curves, levels, wanted in (
            (one, None, []),
            (one, {"bound": 1.0}, ["a", "bound"]),
            (self.CURVES, {}, ["a", "b"]),
        ):
            figure = drawn(monkeypatch, curves, levels=levels).figure
            assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == wanted

    @pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
    def test_the_suffix_decides_the_format(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / "figures" / f"x.{suffix}"
        save_curves(path, self.CURVES, logarithmic="xy")
        assert {"png": b"PNG", "svg": b"<svg", "pdf": b"%PDF"}[suffix] in path.read_bytes()
        assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("event", "known"),
    [
        ((2,), True),
        ((1, 8, 8), True),
        ((3, 4, 5), True),
        ((3,), False),
        ((), False),
        ((2, 8, 8), False),
        ((2, 2), False),
    ],
)
def test_what_can_be_drawn_is_drawn(event: tuple[int, ...], known: bool, tmp_path: Path) -> None:
    assert drawable(event) is drawable(list(event)) is known
    if known:
        save_pictures(tmp_path / "x.png", torch.zeros(2, *event))
    else:
        with pytest.raises(ValueError, match="`x` must be images"):
            save_pictures(tmp_path / "x.png", torch.zeros(2, *event))


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
        (lambda p: save_pictures(p, torch.full((1, 1, 2, 2), math.nan)), "`x` must be finite to become an image"),
        (lambda p: save_comparison(p, {}), "`rows` must hold at least one"),
        (lambda p: save_comparison(p, {"1 step": torch.ones(4)}), r"`rows\['1 step'\]` must be images"),
        (
            lambda p: save_comparison(p, {"a": torch.ones(4, 2), "b": torch.ones(4, 1, 2, 2)}),
            r"`rows` must hold samples of one event, got shapes \[4, 2\], \[4, 1, 2, 2\]",
        ),
        (lambda p: save_curves(p, {}), "`curves` must hold at least one labelled curve, got none"),
        (lambda p: save_curves(p, {"a": ([1, 2], [1.0])}), "must have as many places as values, got 2 and 1"),
        (
            lambda p: save_curves(p, {"a": ([1], [1.0])}, logarithmic="z"),
            "`logarithmic` must name axes, x, y or xy, got 'z'",
        ),
        (lambda p: save_curves(p, {"a": ([1], [1.0]), "b": ([], [])}), "as many places as values, got 0 and 0"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, save: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        save(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())

"""Samples in rows and columns: every image stands in its cell, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops.pictures import save_table, save_trajectories
from tests.examples import normal
from tests.images import read

pytest.importorskip("matplotlib")
pytest.importorskip("torchvision")


def flat(values: Tensor) -> Tensor:
    """Images of one grey each."""
    return values.view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def greys(path: Path, values: list[int]) -> list[int]:
    """How many pixels of a picture have each of these greys."""
    picture = read(path).astype(int)
    return [int((np.abs(picture - value).max(-1) == 0).sum()) for value in values]


def test_every_cell_is_drawn_and_in_its_place(tmp_path: Path) -> None:
    x = torch.linspace(-0.9, 0.9, 12)
    cells = iter(x.split(2))
    rows = {row: {column: flat(next(cells)) for column in "abc"} for row in ("first", "second")}
    save_table(tmp_path / "x.png", rows)
    values = ((x + 1) * 127.5).round().int().tolist()
    assert all(count > 60 * 60 for count in greys(tmp_path / "x.png", values))
    picture = read(tmp_path / "x.png")[..., 0].astype(int)
    places = [np.argwhere(picture == value).mean(0) for value in values]
    down, across = np.array(places).T
    assert (np.diff(across[:6]) > 60).all()  # two of each column side by side
    assert (down[6:] > down[:6] + 60).all()


def test_points_have_panels_with_equal_scales(tmp_path: Path) -> None:
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    save_table(tmp_path / "x.png", {"a": {"1": x, "2": x}, "b": {"1": x, "2": x * torch.nan}})
    assert read(tmp_path / "x.png").std() > 5


def test_the_way_of_images_is_a_row_for_each(tmp_path: Path) -> None:
    x = torch.linspace(-0.9, 0.9, 6).view(3, 2)  # three times, two samples
    save_trajectories(tmp_path / "x.png", [0.0, 0.5, 1.0], torch.stack([flat(row) for row in x]))
    picture = read(tmp_path / "x.png")[..., 0].astype(int)
    places = [np.argwhere(picture == value).mean(0) for value in ((x + 1) * 127.5).round().int().flatten().tolist()]
    down, across = (np.array(axis).reshape(3, 2) for axis in np.array(places).T)
    assert (np.diff(across, axis=0) > 60).all()
    assert (np.diff(down, axis=1) > 60).all()


def test_the_way_of_points_is_a_curve(tmp_path: Path) -> None:
    x = torch.stack([normal(5, 2), normal(5, 2, seed=1)])
    x[0, 0] = torch.nan  # left out
    save_trajectories(tmp_path / "x.png", [0.0, 1.0], x)
    picture = read(tmp_path / "x.png").astype(int)
    assert (picture[..., 2] - picture[..., 0] > 40).any()  # blue curves


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({}, "rows with the same columns"),
        ({"a": {}}, "rows with the same columns"),
        ({"a": {"1": normal(2, 2)}, "b": {"2": normal(2, 2)}}, "rows with the same columns"),
        ({"a": {"1": torch.zeros(2, 1, 8, 8), "2": torch.zeros(3, 1, 8, 8)}}, "as many images"),
        ({"a": {"1": normal(2, 2), "2": torch.zeros(3, 1, 8, 8)}}, "samples of one event"),
        ({"a": {"1": normal(2, 3)}}, "must be images"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, rows: dict[str, dict[str, Tensor]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        save_table(tmp_path / "x.png", rows)
    with pytest.raises(ValueError, match="for each of 2 times"):
        save_trajectories(tmp_path / "x.png", [0.0, 1.0], normal(3, 4, 2))
    assert not list(tmp_path.iterdir())

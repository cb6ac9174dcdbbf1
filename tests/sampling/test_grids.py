"""Grids of times: what they hold, and what is refused of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from flowops import Interpolant, interpolants
from flowops.sampling.grids import check_grid, load_grid, load_grids, noise_levels, save_grids, uniform


def test_uniform_grids_have_equal_steps_and_exact_ends() -> None:
    assert uniform(1) == [0.0, 1.0]
    assert uniform(4) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [uniform(k)[-1] for k in range(1, 50)] == [1.0] * 49


@pytest.mark.parametrize("name", ["linear", "trigonometric", "cosine", "variance_preserving", "edm"])
def test_noise_levels_are_those_of_the_paper_on_every_clock(name: str) -> None:
    I, k = interpolants.named(name), 10
    grid = noise_levels(k, I, sigma_min=0.01)
    inner = torch.tensor(grid[1:-1], dtype=torch.float64)
    roots = (I.alpha(inner) / I.beta(inner)) ** (1 / 7)  # equidistant, the first of them (at 80) being left out
    wanted = torch.linspace(80 ** (1 / 7), 0.01 ** (1 / 7), k, dtype=torch.float64)[1:]
    assert_close(roots, wanted, rtol=1e-6, atol=0)
    assert len(grid) == k + 1
    assert grid[0] == 0
    assert grid[-1] == 1


def test_one_and_two_steps_by_hand() -> None:
    assert noise_levels(1, interpolants.linear()) == [0.0, 1.0]
    start, middle, end = noise_levels(2, interpolants.linear(), sigma_min=0.25)
    assert (start, end) == (0.0, 1.0)
    assert_close(middle, 0.8)  # (1 - t) / t = 1/4


def test_a_grid_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(noise_levels(6, interpolants.linear())))
    assert load_grid(path) == noise_levels(6, interpolants.linear())
    path.write_text("[0, 1]")
    assert load_grid(str(path)) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[0, 1", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"grid": [0, 1]}', "must hold a JSON list of times, got dict"),
        ("{}", "must hold a JSON list of times, got dict"),
        ('{"1": [0, 1], "2": [0, 1]}', "Grid 2 in .* must have 2 steps, got 1; rename it"),
        ('{"1": [0, 0.5]}', "Grid 1 in .* must run from 0 to 1"),
        ("[]", "must run from 0 to 1, got 0 times"),
        ("[0]", "must run from 0 to 1, got 1 time;"),
        ("[0.1, 1]", "must run from 0 to 1, got 0.1 to 1"),
        ("[0, 0.9]", "must run from 0 to 1, got 0 to 0.9"),
        ("[1, 0.5, 0]", "must run from 0 to 1, got 1 to 0"),
        ("[0, 0.5, 0.5, 1]", "must increase strictly, got 0.5 before 0.5 at place 1"),
        ("[0, 0.5, 0.4, 1]", "must increase strictly, got 0.5 before 0.4"),
        ("[0, NaN, 1]", "must increase strictly, got 0.0 before nan"),
        ("[0, true, 1]", "must hold numbers only, got True"),
        ('[0, "0.5", 1]', "must hold numbers only, got '0.5'"),
        ("[0, null, 1]", "must hold numbers only, got None"),
        ("[0, 1" + "0" * 400 + ", 1]", "must hold times from 0 to 1, got a whole number beyond them"),
        ("[0, 1" + "0" * 5000 + ", 1]", "is not JSON"),
    ],
)
def test_every_fault_of_a_file_is_a_sentence_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_grid(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "grid.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON"):
        load_grid(path)
    for none in (tmp_path / "none.json", tmp_path):
        with pytest.raises(
            FileNotFoundError, match=f"`grid` must name a file with a list of times, and {none} is none"
        ):
            load_grid(none)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_grid_is_refused() -> None:
    for grid in ("01", torch.tensor([0.0, 1.0]), 4):
        with pytest.raises(TypeError, match="must be a list of times"):
            check_grid(grid)
    for steps in (0, -1, True, 2.0):
        with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1"):
            uniform(steps)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`sigma_min` and `sigma_max` must be positive and increasing"):
        noise_levels(4, interpolants.linear(), sigma_min=80.0, sigma_max=0.002)
    with pytest.raises(ValueError, match="The grid of these noise levels must increase strictly"):
        noise_levels(4, interpolants.variance_exploding())  # ends at the noise level 0.01
    with pytest.raises(ValueError, match="gamma term"):
        noise_levels(4, Interpolant.from_expressions("1-t", "t", "t*(1-t)"))


def test_grids_of_several_lengths_are_read_by_their_steps(tmp_path: Path) -> None:
    path, found = tmp_path / "grids.json", {2: [0.0, 0.3, 1.0], 1: [0.0, 1.0]}
    save_grids(path, found)
    assert load_grids(path) == found
    assert [load_grid(path, k) for k in (1, 2)] == [found[1], found[2]]
    with pytest.raises(ValueError, match=r"`steps` must be one of 1, 2 for the grids in .*, got 3"):
        load_grid(path, 3)
    with pytest.raises(ValueError, match=r"`steps` must be one of 1, 2 for the grids in .*, got no number"):
        load_grid(path)
    path.write_text("[0, 0.4, 1]")
    assert load_grids(path) == {2: [0.0, 0.4, 1.0]}
    with pytest.raises(ValueError, match=r"`steps` must be 2 for the grids in .*, got 3"):
        load_grid(path, 3)

"""Pictures to noise and back from the command line: what is written, what is said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flowops.data import to_uint8
from flowops.evaluation.inversion import held_out, interpolated, inversion
from flowops.runs import Run, load_noise
from tests.cli.commands import DIGITS, Console
from tests.images import read

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def square_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits that saw both orders of the times, two steps; tests must not change it."""
    from flowops.cli import main

    out = tmp_path_factory.mktemp("runs") / "square"
    assert main(["train", *DIGITS, "--steps", "2", "--options", "law=FullSquare()", "--out", str(out)]) == 0
    return out


def test_held_out_data_go_to_noise_and_back_by_map_and_solver(
    flowops: Console, square_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--n", 4, "--steps", 1, 2, "--solver", "heun", "--solver-steps", 3, "--to-class", 7, 2, "--interpolate")
    said = flowops("invert", square_run, *words, "--out", out)
    assert said.code == 0, said.err
    names = {"edits.png", "errors.json", "errors.md", "interpolation.png", "noise.safetensors", "pictures.png"}
    assert {file.name for file in out.iterdir()} == names
    assert (out / "errors.md").read_text() in said.out
    run = Run.load(square_run)
    data = run.dataset.reference(4, split="test")
    rows = json.loads((out / "errors.json").read_text())["trips"]
    assert [(row["to noise"], row["back by"]) for row in rows] == [
        ("map, 1 step", "map, 1 step"),
        ("map, 2 steps", "map, 2 steps"),
        ("heun, 3 steps", "heun, 3 steps"),
        ("heun, 3 steps", "map, 1 step"),
        ("heun, 3 steps", "map, 2 steps"),
    ]
    found = run.invert(data.x1, steps=2, label=data.labels)
    np.testing.assert_allclose(rows[1]["error"], found.error, rtol=1e-4)
    np.testing.assert_allclose(rows[1]["norm"], found.x0.flatten(1).norm(dim=1) / 8, rtol=1e-4)
    solved = run.invert(data.x1, solver="heun", steps=3, label=data.labels)
    again = run.sample(x0=solved.x0, steps=1, label=data.labels)
    np.testing.assert_allclose(rows[3]["error"], (again - data.x1).flatten(1).square().mean(1).sqrt(), rtol=1e-4)
    x0, labels = load_noise(out / "noise.safetensors")
    best = min((row for row in rows), key=lambda row: np.mean(row["error"]))
    wanted = {"map, 1 step": run.invert(data.x1, steps=1, label=data.labels), "map, 2 steps": found}
    torch.testing.assert_close(x0, wanted.get(best["to noise"], solved).x0)
    assert data.labels is not None
    assert labels is not None
    assert torch.equal(labels, data.labels)
    assert read(out / "interpolation.png").shape == (2 * 66 + 2, 11 * 66 + 2, 3)


def test_samples_start_from_the_noise_that_was_written(flowops: Console, square_run: Path, tmp_path: Path) -> None:
    assert flowops("invert", square_run, "--n", 3, "--steps", 2, "--out", tmp_path).code == 0
    noise, tensors = tmp_path / "noise.safetensors", tmp_path / "x.safetensors"
    words = ("--steps", 2, "--out", tmp_path / "x.png", "--tensor", tensors)
    assert flowops("sample", square_run, "--noise", noise, *words).code == 0
    run = Run.load(square_run)
    data = run.dataset.reference(3, split="test")
    back = run.invert(data.x1, steps=2, label=data.labels).back
    torch.testing.assert_close(load_file(tensors)["map-2"], back)
    assert flowops("sample", square_run, "--noise", noise, *words, "--class", 4).code == 0
    x0 = load_noise(noise)[0]
    torch.testing.assert_close(load_file(tensors)["map-2"], run.sample(x0=x0, steps=2, label=4))
    assert not torch.allclose(load_file(tensors)["map-2"], back)


def test_a_map_that_goes_forward_only_is_inverted_by_its_field(
    flowops: Console, digits_run: Path, tmp_path: Path
) -> None:
    error = flowops("invert", digits_run, "--steps", 2, "--out", tmp_path / "out").error
    assert error.startswith(f"--solver must be given for {digits_run}, whose map never saw a start s after its end t")
    assert "pass --solver dopri5" in error
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
    words = ("--solver", "dopri5", "--steps", 2, "--n", 2, "--class", 3, "--out", tmp_path / "out")
    assert flowops("invert", digits_run, *words).code == 0
    held = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert [(row["to noise"], row["back by"]) for row in held["trips"]] == [
        ("dopri5", "dopri5"),
        ("dopri5", "map, 2 steps"),
    ]
    assert max(held["trips"][0]["error"]) < 1e-3
    assert load_noise(tmp_path / "out" / "noise.safetensors")[1].tolist() == [3, 3]  # type: ignore[union-attr]


def pictures(folder: Path, side: int = 8, classes: tuple[str, ...] = ("3", "5")) -> torch.Tensor:
    """Two grey pictures in each of some folders; their bytes."""
    made = to_uint8(torch.rand(2 * len(classes), side, side, generator=torch.Generator().manual_seed(0)))
    for k, pixels in enumerate(made):
        place = folder / classes[k // 2] / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy(), "L").save(place)
    return made


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
def test_pictures_in_a_folder_have_the_classes_of_its_folders(
    flowops: Console, square_run: Path, tmp_path: Path
) -> None:
    made = pictures(tmp_path / "mine")
    words = ("--steps", 1, "--out", tmp_path / "out")
    assert flowops("invert", square_run, tmp_path / "mine", *words).code == 0
    x0, labels = load_noise(tmp_path / "out" / "noise.safetensors")
    assert labels is not None
    assert labels.tolist() == [3, 3, 5, 5]
    x1 = made[:, None].float() / 127.5 - 1
    torch.testing.assert_close(x0, Run.load(square_run).invert(x1, steps=1, label=[3, 3, 5, 5]).x0)
    assert flowops("invert", square_run, tmp_path / "mine", *words, "--class", 1, "--n", 3).code == 0
    assert load_noise(tmp_path / "out" / "noise.safetensors")[1].tolist() == [1, 1, 1]  # type: ignore[union-attr]
    pictures(tmp_path / "other", classes=("cats", "3"))
    error = flowops("invert", square_run, tmp_path / "other", *words).error
    assert error.startswith("--class must be given for pictures that lie in no folders named as the classes of the run")
    assert f"got 3, cats in {tmp_path / 'other'}" in error
    pictures(tmp_path / "large", side=9)
    error = flowops("invert", square_run, tmp_path / "large", *words).error
    assert error == (
        f"PICTURES must be of 8 x 8 pixels as those of the run, got 9 x 9 in {tmp_path / 'large'}; scale them."
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "PICTURES must be a folder or an archive of images, got"),
        (("--to-class", 11), "--to-class must hold classes between 0 and 9, got 11"),
        (("--to-class", 1, "--all-classes"), "--to-class and --all-classes must not be given together"),
        (("--class", 10), "--class must be a class between 0 and 9"),
        (("--n", 0), "--n must be a whole number of at least 1"),
        (("--n", 1, "--interpolate"), "--n must be at least 2 to interpolate, got 1"),
        (("--class", 3, "--n", 200), "--n must be at most"),
        (("--split", "validation"), "--split must be one of train, test for digits"),
        (("--solver-steps", 4), "--solver-steps must be given with --solver heun only, got 4"),
        (("--tolerance", 1e-3), "--tolerance must be given with --solver dopri5 only, got 0.001"),
    ],
)
def test_what_is_not_right_is_one_sentence_and_leaves_nothing(
    flowops: Console, square_run: Path, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    first = [word if word != "nowhere" else tmp_path / "nowhere" for word in words]
    error = flowops("invert", square_run, *first, "--out", tmp_path / "out").error
    assert said in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_labels_has_no_edits(flowops: Console, board_run: Path, tmp_path: Path) -> None:
    words = ("--solver", "heun", "--n", 5, "--out", tmp_path / "out")
    error = flowops("invert", board_run, *words, "--all-classes").error
    assert error == f"--all-classes must be left out for {board_run}, which was trained without labels; drop it."
    assert not (tmp_path / "out").exists()
    assert flowops("invert", board_run, *words, "--interpolate").code == 0
    assert read(tmp_path / "out" / "pictures.png").std() > 1
    assert load_noise(tmp_path / "out" / "noise.safetensors")[1] is None
    assert "PICTURES must be left out for samples of shape [2]" in flowops("invert", board_run, tmp_path, *words).error


def test_the_ends_of_an_interpolation_are_the_round_trips(square_run: Path) -> None:
    run = Run.load(square_run)
    found = inversion(run, held_out(run, 4), [{"steps": 2}])
    way = interpolated(run, found)
    assert way.shape == (2, 11, 1, 8, 8)
    torch.testing.assert_close(way[:, [0, -1]].flatten(0, 1), found.originals.x1)
    torch.testing.assert_close(way[:, [1, -2]].flatten(0, 1), found.best.x)


@pytest.mark.parametrize(
    "held", [b"no tensors", {"x": torch.zeros(2, 1, 8, 8)}, {"x0": torch.full((1, 1, 8, 8), torch.nan)}]
)
def test_a_file_that_holds_no_noise_is_refused(
    flowops: Console, square_run: Path, tmp_path: Path, held: bytes | dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "noise.safetensors"
    file.write_bytes(held) if isinstance(held, bytes) else save_file(held, file)
    words = ("--noise", file, "--steps", 1, "--out", tmp_path / "x.png")
    assert "--noise must" in flowops("sample", square_run, *words).error
    assert "--n must be left out beside a file of noise, got 3" in flowops("sample", square_run, *words, "--n", 3).error
    assert (
        "--noise must be left out where --out takes" in flowops("sample", square_run, *words[:4], "--out", "x/").error
    )
    assert not (tmp_path / "x.png").exists()


def test_one_picture_has_room_for_its_label(flowops: Console, square_run: Path, tmp_path: Path) -> None:
    assert flowops("invert", square_run, "--n", 1, "--steps", 1, "--out", tmp_path).code == 0
    assert read(tmp_path / "pictures.png").shape[1] > 500

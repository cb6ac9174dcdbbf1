"""The experiment that trains a classifier for its features: command line, shifts, a training too short to be good."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments import cifar10_features
from experiments._classifier import load_classifier

pytest.importorskip("safetensors", reason="safetensors is not installed")

SMALL = [
    "--data",
    "digits",
    "--batch",
    "64",
    "--width",
    "4",
    "--test",
    "100",
    "--sizes",
    "300",
    "100",
    "--device",
    "cpu",
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "moons"], "--data must be labelled images"),
        (["--data", "digit"], "digits"),
        (["--data", "digits", "--epochs", "0"], "--epochs, --minutes and --batch must be positive"),
        (["--data", "digits", "--sizes", "5"], "--sizes come in pairs"),
        (["--data", "digits", "--test", "100000"], "must be at most"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cifar10_features.parse([*arguments, "--out", str(tmp_path)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_shifts_move_the_image_and_mirror_it_at_the_edge() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8).expand(200, -1, -1, -1)
    shifted = cifar10_features.augmented(x, 0, 0)
    inner = {tuple(image[0, 3:5, 3:5].flatten().tolist()) for image in shifted}
    around = {tuple(x[0, 0, 3 + i : 5 + i, 3 + j : 5 + j].flatten().tolist()) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert inner == around
    right = shifted[[bool(image[0, 3, 3] == x[0, 0, 3, 4]) for image in shifted]][0, 0]
    assert right[3].tolist() == [25.0, 26.0, 27.0, 28.0, 29.0, 30.0, 31.0, 30.0]
    assert torch.equal(shifted, cifar10_features.augmented(x, 0, 0))
    assert not torch.equal(shifted, cifar10_features.augmented(x, 1, 0))


def test_a_training_learns_and_leaves_a_file_that_says_what_it_is(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert cifar10_features.main([*SMALL, "--epochs", "2", "--out", str(tmp_path / folder)]) == 0
    first, second = (load_classifier(tmp_path / folder / "classifier.safetensors") for folder in "ab")
    assert first.fingerprint == second.fingerprint
    assert "digits" in first.about["data"]
    assert float(first.about["accuracy"]) > 0.3
    report = (tmp_path / "a" / "features.md").read_text()
    assert f"| classifier:{first.fingerprint} | 300 | 100 |" in report
    assert "FID" not in report


def test_the_time_ends_a_training(tmp_path: Path) -> None:
    config = cifar10_features.parse([*SMALL, "--epochs", "1000", "--minutes", "0.001", "--out", str(tmp_path)])
    assert cifar10_features.train(config)[1] < 100

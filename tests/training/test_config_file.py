"""Configurations on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flowops.training import NetworkConfig, OptimizerConfig, TrainConfig, load_config, save_config


def test_a_configuration_comes_back_as_it_was(tmp_path: Path) -> None:
    config = TrainConfig(
        "digits",
        options=("eta=0.5", "guidance=1,4"),
        alpha="cos(pi*t/2)",
        beta="sin(pi*t/2)",
        averages=(0.9,),
        network=NetworkConfig(multipliers=(1, 2), attention=()),
        optimizer=OptimizerConfig(rate=1e-5),
    )
    save_config(tmp_path / "config.yaml", config)
    assert load_config(tmp_path / "config.yaml") == config


def test_what_a_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("dataset: digits\nnetwork:\n  channels: 8\noptimizer: {rate: 1}\n")
    wanted = TrainConfig("digits", network=NetworkConfig(channels=8), optimizer=OptimizerConfig(rate=1.0))
    assert load_config(tmp_path / "c.yaml") == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: digits\nmetod: lsd\n", "did you mean `method`?"),
        ("dataset: digits\nnetwork: {chanels: 8}\n", "did you mean `network.channels`?"),
        ("dataset: digits\nsteps: many\n", "`steps` in .* must be a whole number, got 'many'"),
        ("dataset: digits\nsteps: true\n", "`steps` in .* must be a whole number, got True"),
        ("dataset: digits\naverages: 0.9\n", "`averages` in .* must be a list of a number, got 0.9"),
        ("dataset: digits\nnetwork: 3\n", "`network` in .* must be a group of settings"),
        ("dataset: digits\ncoupling: best\n", "must be one of independent, optimal-transport, sinkhorn, got 'best'"),
        ("method: lsd\n", "must name a `dataset`"),
        ("version: 99\ndataset: digits\n", "version 1, got version 99"),
        ("- digits\n", "must hold names and values, got list"),
        ("a: [1\n", "must be YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"dataset: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(ValueError, match="must be YAML"):
        load_config(tmp_path / "c.yaml")
    assert not (tmp_path / "made").exists()


def test_a_file_that_is_written_again_is_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    save_config(first, replace(TrainConfig("checkerboard"), seed=3))
    save_config(second, load_config(first))
    assert first.read_text() == second.read_text()
    assert first.read_text().startswith("version: 1\n")

"""The folder of a run: when it may be written, and the settings in its `config.yaml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flowops.runs import (
    HardwareConfig,
    NetworkConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
    load_config,
    save_config,
)
from flowops.runs.assembly import completed

CONFIG = completed(TrainConfig("digits"), {}, (1, 8, 8))


class TestWriting:
    def test_a_new_or_an_empty_folder_may_be_written(self, tmp_path: Path) -> None:
        RunFolder(tmp_path).check(resume=False)
        RunFolder(tmp_path / "new").check(resume=False)
        RunFolder(tmp_path / "new").check(resume=True)

    def test_a_folder_with_something_in_it_may_not(self, tmp_path: Path) -> None:
        (tmp_path / "note.txt").touch()
        with pytest.raises(FileExistsError, match="pass resume=True to go on"):
            RunFolder(tmp_path).check(resume=False)
        RunFolder(tmp_path).check(resume=True)

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "run").touch()
        for resume in (False, True):
            with pytest.raises(NotADirectoryError, match="is a file"):
                RunFolder(tmp_path / "run").check(resume=resume)

    def test_the_lock_of_a_run_that_was_killed_is_nothing(self, tmp_path: Path) -> None:
        (tmp_path / ".lock").touch()
        RunFolder(tmp_path).check(resume=False)


class TestSettings:
    """Those of a run are complete, and as they were written, or that is said."""

    def test_they_come_back(self, tmp_path: Path) -> None:
        save_config(tmp_path / "config.yaml", CONFIG)
        assert RunFolder(tmp_path).settings(pytest.fail) == CONFIG

    def test_a_file_that_was_cut_or_edited_is_told(self, tmp_path: Path) -> None:
        path, told = tmp_path / "config.yaml", list[str]()
        save_config(path, CONFIG)
        whole = path.read_text()
        assert "  rate: 0.001\n" in whole
        for changed in (whole.replace("  rate: 0.001\n", "  rate: 0.002\n"), whole[: whole.index("  warmup: ")]):
            path.write_text(changed)
            RunFolder(tmp_path).settings(told.append)
        assert told == [f"{path} is not as the run wrote it: it was edited, or is damaged."] * 2

    def test_a_file_without_the_first_line_is_one_of_a_users_own(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        save_config(path, CONFIG)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
        assert RunFolder(tmp_path).settings(pytest.fail) == CONFIG

    def test_a_file_that_lacks_what_every_run_has_is_refused(self, tmp_path: Path) -> None:
        save_config(tmp_path / "config.yaml", replace(CONFIG, averages=None))
        with pytest.raises(ValueError, match="must hold every setting of a run, and lacks averages; restore it"):
            RunFolder(tmp_path).settings()


def test_a_configuration_comes_back_as_it_was(tmp_path: Path) -> None:
    config = TrainConfig(
        "digits",
        options=("eta=0.5", "guidance=1,4"),
        alpha="cos(pi*t/2)",
        beta="sin(pi*t/2)",
        averages=(0.9,),
        minutes=1.5,
        network=NetworkConfig("unet", multipliers=(1, 2), attention=(), parameterization="edm"),
        optimizer=OptimizerConfig("muon", rate=1e-5),
    )
    for kept in (config, completed(config, {}, (1, 8, 8))):
        save_config(tmp_path / "config.yaml", kept)
        assert load_config(tmp_path / "config.yaml") == kept


def test_what_a_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("dataset: digits\nnetwork:\n  options: [channels=8]\noptimizer: {rate: 1}\n")
    wanted = TrainConfig("digits", network=NetworkConfig(channels=8), optimizer=OptimizerConfig(rate=1.0))
    assert load_config(tmp_path / "c.yaml") == wanted


def test_words_are_read_as_they_are_meant(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "dataset: digits\nhardware: {compile: yes, channels_last: no, precision: 32}\noptimizer: {rate: 1e-3}\n"
    )
    found = load_config(tmp_path / "c.yaml")
    assert found.hardware == HardwareConfig(compile="yes", channels_last="no", precision="32")
    assert found.optimizer.rate == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: digits\noptimizer: {rate: much}\n", "`optimizer.rate` in .* must be a number, got 'much'"),
        ("dataset: digits\nhardware: {precision: 16}\n", "must be one of 32, bf16, got 16"),
        ("dataset: digits\nmetod: lsd\n", "did you mean 'method'?"),
        ("dataset: digits\nnetwork: {optons: [channels=8]}\n", "`network.optons` must be .*; did you mean 'options'?"),
        ("dataset: digits\nzzz: 1\n", "`zzz` must be the name of a setting, .* known are dataset, data, "),
        ("dataset: digits\nsteps: many\n", "`steps` in .* must be a whole number, got 'many'"),
        ("dataset: digits\nsteps: true\n", "`steps` in .* must be a whole number, got True"),
        ("dataset: digits\naverages: 0.9\n", "`averages` in .* must be a list of a number, got 0.9"),
        ("dataset: digits\nnetwork: 3\n", "`network` in .* must be a group of settings"),
        ("dataset: digits\ncoupling: 3\n", "`coupling` in .* must be a text, got 3"),
        ("dataset: digits\noptimizer: {kind: sgd}\n", "must be one of adam, adamw, radam, muon, got 'sgd'"),
        ("method: lsd\n", "must name a `dataset`"),
        ("version: 99\ndataset: digits\n", "must be a configuration of version 2, got version 99"),
        ("- digits\n", "must hold names and values, got list"),
        ("a: [1\n", "must be YAML"),
        ("a: " + 3_000 * "[" + "\n", "must be YAML, and reading it failed: maximum recursion depth"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_settings_of_the_version_before_are_refused_in_one_sentence(tmp_path: Path) -> None:
    """They hold `network.channels`, say, which is an option of the network now: the version comes first."""
    file = tmp_path / "config.yaml"
    file.write_text("version: 1\ndataset: digits\nnetwork: {channels: 8}\n")
    with pytest.raises(ValueError, match="version") as caught:
        load_config(file)
    assert str(caught.value) == (
        f"`{file}` must be a configuration of version 2, got version 1; read it with the flowops that wrote it, or "
        f"train again."
    )
    file.write_text("version: 2\ndataset: digits\n")
    assert load_config(file) == TrainConfig("digits")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
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
    assert first.read_text().splitlines()[1] == "version: 2"

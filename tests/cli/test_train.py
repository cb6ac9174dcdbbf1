"""Training from the command line: settings, files, resuming, and what is refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flowops.training import Run, load_config, save_config
from tests.cli.commands import TINY, Console


def test_a_run_ends_with_where_it_is_and_what_comes_next(flowops: Console, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = flowops("train", "checkerboard", "--steps", 3, *TINY, "--out", out)
    assert said.code == 0
    assert re.fullmatch(rf"{re.escape(str(out))}: step 3 of 3, loss [\d.]+\. Next: flowops sample \S+\n", said.out)
    assert Run.load(out).step == 3


def test_every_kind_of_flag_reaches_the_configuration(flowops: Console, tmp_path: Path) -> None:
    words = (
        *("train", "digits", "--method", "esd", "--options", "eta=0.5", "norm=l1", "--alpha", "cos(pi*t/2)"),
        *("--beta=sin(pi*t/2)", "--steps", "1", "--batch", "4", "--network", "unet", "--network.multipliers", "1", "2"),
        *("--network.channels", "4", "--network.attention", "--network.blocks", "1", "--optimizer.rate", "2e-3"),
        *("--hardware.precision", "bf16", "--log.every", "1", "--checkpoint_every", "0", "--averages", "0.9", "0.99"),
        *("--no-labels", "--log.no-tensorboard", "--log.no-progress", "--out", tmp_path / "run"),
    )
    assert flowops(*words).code == 0
    found = load_config(tmp_path / "run" / "config.yaml")
    assert (found.dataset, found.method, found.options) == ("digits", "esd", ("eta=0.5", "norm=l1"))
    assert (found.alpha, found.beta, found.labels) == ("cos(pi*t/2)", "sin(pi*t/2)", False)
    assert (found.network.kind, found.network.multipliers, found.network.attention) == ("unet", (1, 2), ())
    assert (found.optimizer.rate, found.hardware.precision, found.log.every) == (2e-3, "bf16", 1)
    assert (found.averages, found.checkpoint_every) == ((0.9, 0.99), 0)


def test_a_file_gives_the_defaults_and_flags_override_it(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    words = ("train", "--config", board_run / "config.yaml", "--steps", 2, "--out", tmp_path / "b")
    assert flowops(*words).code == 0
    before, found = load_config(board_run / "config.yaml"), load_config(tmp_path / "b" / "config.yaml")
    assert found == replace(before, steps=2, out=str(tmp_path / "b"))


def test_the_data_set_of_a_file_can_be_replaced(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    words = ("train", "moons", f"--config={board_run / 'config.yaml'}", "--steps", 1, "--out", tmp_path / "b")
    assert flowops(*words).code == 0
    assert load_config(tmp_path / "b" / "config.yaml").dataset == "moons"


def test_a_run_goes_on_under_its_settings_as_often_as_wanted(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = shutil.copytree(board_run, tmp_path / "moved")
    further = flowops("train", "--out", out, "--resume", "--steps", 7)
    assert further.code == 0
    assert "Going on from step 5 of 7." in further.err
    assert f"{out}: step 7 of 7" in further.out
    for _ in range(2):
        again = flowops("train", "--resume", "--out", out)
        assert again.code == 0
        assert "is finished: step 7 of 7" in again.err
        assert f"{out}: step 7 of 7" in again.out


def test_the_run_that_goes_on_may_lie_in_the_usual_place(
    flowops: Console, tmp_path: Path, board_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(board_run, tmp_path / "runs" / "run")
    monkeypatch.chdir(tmp_path)
    assert flowops("train", "--resume", "--steps", 6).out.startswith("runs/run: step 6 of 6")


def test_resuming_without_a_run_wants_a_data_set(flowops: Console, tmp_path: Path) -> None:
    assert flowops("train", "--resume", "--out", tmp_path / "new").code == 2
    started = flowops("train", "checkerboard", "--steps", 1, *TINY, "--resume", "--out", tmp_path / "new")
    assert started.code == 0
    assert "starting from the first step" in started.err


def test_resuming_refuses_settings_of_another_run(flowops: Console, board_run: Path) -> None:
    said = flowops("train", "--resume", "--out", board_run, "--method", "esd")
    assert "`method` must stay 'lsd' to resume this run, got 'esd'" in said.error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--steps", "0"), "`steps` must be a whole number of at least 1, got 0"),
        (("--batch", "-3"), "`batch` must be a whole number of at least 1, got -3"),
        (("--method", "lds"), "did you mean 'lsd'?"),
        (("--options", "eat=0.5"), "did you mean `eta`?"),
        (("--options", "eta"), "`options` must be name=value, got 'eta'"),
        (("--alpha", "1-t"), "`alpha` and `beta` must be given together"),
        (("--alpha", "__import__('os')", "--beta", "t"), "alpha"),
        (("--interpolant", "liner"), "`name` must be one of linear, trigonometric"),
        (("--method", "lmd"), "`teacher` must be a run's folder for lmd, got none"),
        (("--config", "missing.yaml"), "`missing.yaml` must be a configuration file, and there is none"),
        (("--network", "conv"), "`network.kind` must be auto, unet, mlp or package.module:factory, got 'conv'"),
    ],
)
def test_bad_settings_are_one_sentence(flowops: Console, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in flowops("train", "checkerboard", *TINY, "--out", tmp_path / "run", *words).error
    assert not (tmp_path / "run").exists()


def test_an_unknown_data_set_has_a_hint(flowops: Console, tmp_path: Path) -> None:
    assert "did you mean 'digits'?" in flowops("train", "digit", "--out", tmp_path / "run").error


def test_a_folder_that_holds_a_run_is_not_written_over(flowops: Console, board_run: Path) -> None:
    said = flowops("train", "checkerboard", "--out", board_run)
    assert "`out` must be a new folder" in said.error
    assert "pass --resume" in said.error


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("version: 2", "must be a configuration of version 1, got version 2"),
        ("stesp: 3", "did you mean `steps`?"),
        ("network: {chanels: 3}", "did you mean `network.channels`?"),
        ("steps: many", "`steps` in"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(flowops: Console, tmp_path: Path, line: str, sentence: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"dataset: digits\n{line}\n")
    assert sentence in flowops("train", "--config", file, "--out", tmp_path / "run").error


def test_a_file_may_name_the_run_that_goes_on(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = shutil.copytree(board_run, tmp_path / "moved")
    save_config(out / "config.yaml", replace(load_config(out / "config.yaml"), out=str(out)))
    said = flowops("train", "--config", out / "config.yaml", "--resume", "--steps", 6)
    assert f"{out}: step 6 of 6" in said.out

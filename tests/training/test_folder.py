"""When the folder of a run may be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flowops.training import TrainConfig, save_config
from flowops.training.folder import RunFolder

CONFIG = TrainConfig("digits")


def test_a_new_or_an_empty_folder_may(tmp_path: Path) -> None:
    RunFolder(tmp_path).check(CONFIG, resume=False)
    RunFolder(tmp_path / "new").check(CONFIG, resume=False)
    RunFolder(tmp_path / "new").check(CONFIG, resume=True)


def test_a_folder_with_something_in_it_may_not(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    with pytest.raises(FileExistsError, match="pass --resume"):
        RunFolder(tmp_path).check(CONFIG, resume=False)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    for resume in (False, True):
        with pytest.raises(NotADirectoryError, match="is a file"):
            RunFolder(tmp_path / "run").check(CONFIG, resume=resume)


def test_a_run_goes_on_under_its_own_settings_only(tmp_path: Path) -> None:
    save_config(tmp_path / "config.yaml", CONFIG)
    RunFolder(tmp_path).check(replace(CONFIG, steps=50_000), resume=True)
    with pytest.raises(ValueError, match="`batch` must stay 128"):
        RunFolder(tmp_path).check(replace(CONFIG, batch=64), resume=True)

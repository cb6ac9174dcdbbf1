"""Checkpoints that are written: whole or not there, and no failure costs an older one."""

from __future__ import annotations

import errno
import os
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from flowops.runs.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    read_manifest,
)
from flowops.runs.saving import put_in_place, save_averages
from tests.examples import normal
from tests.programs import run
from tests.runs.checkpoints import save, steps_in, tensors


def test_prefixes_of_wrappers_are_dropped(folder: Path) -> None:
    wrapped = {"module._orig_mod.a": torch.ones(1), "module.inner._orig_mod.b": torch.ones(2)}
    assert set(load_checkpoint(save(folder, 1, weights=wrapped)).weights) == {"a", "inner.b"}
    own = {"module.a": torch.ones(1), "head": torch.ones(2)}  # a network may have a part of that name
    assert set(load_checkpoint(save(folder, 2, weights=own)).weights) == {"module.a", "head"}


def test_shared_and_strided_tensors_are_saved_in_full(folder: Path) -> None:
    base = normal(4, 4, seed=0)
    weights = {
        "whole": base,
        "tied": base,
        "row": base[1],
        "transposed": base.T,
        "gradient": base.clone().requires_grad_(),
    }
    found = load_checkpoint(save(folder, 1, weights=weights)).weights
    for name, value in weights.items():
        assert torch.equal(found[name], value)


class TestOldOnes:
    def test_the_newest_are_kept(self, folder: Path) -> None:
        for step in (1, 2, 3, 10, 20):
            save(folder, step, keep=3)
        assert steps_in(folder) == [3, 10, 20]
        save(folder, 30, keep=1)
        assert steps_in(folder) == [30]

    def test_none_keeps_all(self, folder: Path) -> None:
        for step in range(5):
            save(folder, step)
        assert steps_in(folder) == [0, 1, 2, 3, 4]

    def test_the_one_just_written_stays_though_later_ones_are_there(self, folder: Path) -> None:
        for step in (10, 20, 30):
            save(folder, step)
        save(folder, 15, keep=1)  # a run that went back
        assert steps_in(folder) == [15, 20, 30]

    def test_one_of_the_same_step_is_replaced(self, folder: Path) -> None:
        save(folder, 5)
        save(folder, 5, weights={"w": torch.ones(3)}, averages={})
        assert list(load_checkpoint(folder / "5").weights) == ["w"]
        assert steps_in(folder) == [5]


def test_averages_that_are_kept_apart_are_read_like_those_of_a_checkpoint(folder: Path) -> None:
    apart = folder.parent / "averages"
    for step in (1, 2, 2):  # of a run that went back
        save_averages(apart, step, {"power-0.1": tensors(step)}, {"power-0.1": 1})
    assert sorted(file.name for file in (apart / "2").iterdir()) == ["ema-power-0.1.safetensors", "manifest.json"]
    torch.testing.assert_close(load_weights(apart, 1, "power-0.1")[1], tensors(1), rtol=0, atol=0)
    assert read_manifest(apart / "2").since == {"power-0.1": 1}
    (apart / "2" / "ema-power-0.1.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"averages/2/ema-power-0\.1\.safetensors must have .* bytes, got 0"):
        load_weights(apart, 2, "power-0.1")


class TestFailures:
    """Every way to fail leaves the older checkpoints readable and nothing behind."""

    def check(self, folder: Path) -> None:
        assert sorted(path.name for path in folder.parent.iterdir()) == ["checkpoints"]
        assert steps_in(folder) == [1, 2]
        for step in (1, 2):
            torch.testing.assert_close(load_checkpoint(folder / str(step)).weights, tensors(step), rtol=0, atol=0)

    @pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.rename", "pathlib.Path.write_text", "torch.save"])
    @pytest.mark.parametrize("step", [2, 3])
    def test_a_full_disk(self, folder: Path, where: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        save(folder, 1)
        save(folder, 2)

        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(where, full)
            with pytest.raises(
                CheckpointError, match=rf"checkpoints/{step} could not be written \(No space left on .* bytes"
            ):
                save(folder, step, keep=1)
        self.check(folder)

    @pytest.mark.slow
    def test_a_real_limit_on_the_size_of_files(self, folder: Path, tmp_path: Path) -> None:
        """It strikes inside safetensors, inside torch.save, and while the manifest is written."""
        save(folder, 1)
        save(folder, 2)
        text = f"""
import resource, torch
from flowops.runs.checkpoint import CheckpointError
from flowops.runs.saving import save_checkpoint
for limit, weights, state, averages in ((600, 1000, 1, 0), (6000, 1, 10_000, 0), (2000, 1, 1, 20)):
    w = dict(w=torch.ones(weights))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_checkpoint({str(folder)!r}, 3, weights=w, averages=dict.fromkeys(map(str, range(averages)), w),
            state=dict(x=torch.ones(state)), keep=1)
    except CheckpointError as error:
        print(error.__cause__.__class__.__name__, error)
"""
        said = run(tmp_path, text).splitlines()
        assert [line.split()[0] for line in said] == ["SafetensorError", "OSError", "OSError"]
        assert all("checkpoints/3 could not be written (" in line and "File too large" in line for line in said)
        self.check(folder)

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("a file")
        with pytest.raises(CheckpointError, match="could not be written"):
            save(tmp_path / "run" / "checkpoints", 1)

    @pytest.mark.parametrize("value", [object(), {"x": {3}}, [1, (lambda: 0,)]])
    def test_a_state_that_could_not_be_read_again(self, folder: Path, value: Any) -> None:
        with pytest.raises(TypeError, match=r"`state` must be made of tensors.* at state\['bad'\]"):
            save(folder, 3, state={"good": OrderedDict(a=1), "bad": value})
        assert not folder.exists()

    def test_wrong_arguments(self, folder: Path) -> None:
        for options in ({"step": -1}, {"step": 1, "keep": 0}):
            with pytest.raises(ValueError, match="`step` must be at least 0 and `keep` at least 1 or None"):
                save(folder, **options)
        with pytest.raises(ValueError, match="`averages` must have names of letters.* got '../x'"):
            save(folder, 1, averages={"../x": {}})
        with pytest.raises(ValueError, match="`weights` must have names that differ without"):
            save(folder, 1, weights={"a": torch.ones(1), "_orig_mod.a": torch.ones(1)})


class TestKilledProcesses:
    def test_what_they_left_is_removed_and_what_lives_is_not(self, folder: Path) -> None:
        save(folder, 1)
        dead, own, alive = (folder.parent / f".tmp-checkpoint-{pid}" for pid in (2**22 + 1, os.getpid(), os.getppid()))
        for left in (dead, own, alive):
            left.mkdir()
            (left / "model.safetensors").write_bytes(b"half")
        save(folder, 2)
        assert [left.exists() for left in (dead, own, alive)] == [False, False, True]
        assert steps_in(folder) == [1, 2]

    def test_killed_while_a_checkpoint_was_replaced(self, folder: Path) -> None:
        save(folder, 1)
        (save(folder, 2)).rename(folder / "2.replaced")
        found = latest_checkpoint(folder, pytest.fail)
        assert found is not None
        assert found.step == 2
        assert load_weights(folder)[0] == 2
        save(folder, 3)
        assert steps_in(folder) == [1, 2, 3]

    def test_killed_after_a_checkpoint_was_replaced(self, folder: Path) -> None:
        shutil.copytree(save(folder, 2), folder / "2.replaced")
        save(folder, 2, weights={"w": torch.ones(1)})
        assert steps_in(folder) == [2]

    def test_a_checkpoint_that_cannot_take_its_place_leaves_the_old_one(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place, temporary = save(folder, 2), folder.parent / "new"
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path == temporary:
                raise OSError(errno.EIO, "Input/output error")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="Input/output"):
            put_in_place(temporary, place)
        assert load_checkpoint(place).step == 2
        assert steps_in(folder) == [2]

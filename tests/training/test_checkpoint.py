"""Checkpoints: what is read is what was saved, damage is found by name, and no failure costs an older one."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops.training import _checkpoint_folders, _manifest
from flowops.training.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from tests.examples import normal
from tests.programs import run

FILES = ["model.safetensors", "ema-0.999.safetensors", "ema-power-0.05.safetensors", "state.pt", "manifest.json"]


def tensors(seed: int) -> dict[str, Tensor]:
    return {
        "a.weight": normal(3, 2, seed=seed).float(),
        "b": torch.arange(4) + seed,
        "c": normal(2, seed=seed).bfloat16(),
    }


def save(folder: Path, step: int, **options: Any) -> Path:
    content: dict[str, Any] = {
        "weights": tensors(step),
        "averages": {"0.999": tensors(step + 1), "power-0.05": tensors(step + 2)},
        "state": {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, None)}, "skipped": step},
        "keep": None,
    }
    save_checkpoint(folder, step, **{**content, **options})
    return folder / str(step)


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


def test_what_is_read_is_what_was_saved(folder: Path) -> None:
    path = save(folder, 70)
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    found = load_checkpoint(path)
    assert found.step == 70
    torch.testing.assert_close(found.weights, tensors(70), rtol=0, atol=0)
    torch.testing.assert_close(found.averages, {"0.999": tensors(71), "power-0.05": tensors(72)}, rtol=0, atol=0)
    assert found.state == {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, None)},
        "skipped": 70,
    }
    assert sorted(path.name for path in folder.parent.iterdir()) == ["checkpoints"]


def test_an_optimizer_goes_on_from_its_state(folder: Path) -> None:
    weights = nn.Parameter(normal(5, seed=0))
    optimizers = [torch.optim.Adam([weights], 0.1, fused=True)]
    weights.square().sum().backward()
    optimizers[0].step()
    path = save(folder, 1, state={"optimizer": optimizers[0].state_dict()}, weights={"w": weights})
    found = load_checkpoint(path)
    other = nn.Parameter(found.weights["w"])
    optimizers.append(torch.optim.Adam([other], 0.1, fused=True))
    optimizers[1].load_state_dict(found.state["optimizer"])
    for parameter, optimizer in zip((weights, other), optimizers, strict=True):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert torch.equal(weights, other)


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


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "empty"])
def test_damage_is_named_and_the_checkpoint_before_is_used(folder: Path, name: str, damage: str) -> None:
    save(folder, 10)
    file = save(folder, 20) / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = bytes([*content[:-1], content[-1] ^ 1])
        file.write_bytes({"cut": content[:-3], "changed": changed, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=str(file)):
        load_checkpoint(file.parent)
    told: list[str] = []
    found = latest_checkpoint(folder, told.append)
    assert found is not None
    assert found.step == 10
    assert len(told) == 1
    assert told[0].startswith("Checkpoint 20 is not used: ")
    assert str(file) in told[0]


def test_nothing_to_go_on_from(folder: Path) -> None:
    told: list[str] = []
    assert latest_checkpoint(folder, told.append) is None
    shutil.rmtree(save(folder, 3) / "manifest.json", ignore_errors=True)
    (folder / "3" / "manifest.json").unlink()
    assert latest_checkpoint(folder, told.append) is None
    assert len(told) == 1


def test_stray_files_are_no_checkpoints(folder: Path) -> None:
    save(folder, 9)
    save(folder, 10)  # newer than 9 although its name sorts before
    for name in ("notes", "011", "-12", "1e3", ".13", "²"):
        (folder / name).mkdir()
    (folder / "14").write_text("a file")
    told: list[str] = []
    found = latest_checkpoint(folder, told.append)
    assert found is not None
    assert found.step == 10
    assert not told


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"version": 2, "flowops": "9.0"},
            "must be a checkpoint of version 1, got version 2, written by flowops '9.0'",
        ),
        ({"files": {}}, "must be the list of a checkpoint"),
        ([], "must be the list of a checkpoint"),
        ({"version": 1, "step": "x", "files": {}}, "must list a step and files, and it does not"),
        ({"version": 1, "step": 1, "files": []}, "must list a step and files, and it does not"),
        ({"version": 1, "step": 1, "files": {}}, r"model.safetensors must be in the checkpoint"),
        (
            {"version": 1, "step": 1, "files": {"../../secret": {"bytes": 1, "blake2b": ""}}},
            "must name files of its folder, got '../../secret'",
        ),
    ],
)
def test_a_foreign_manifest_is_refused(folder: Path, content: Any, sentence: str) -> None:
    path = save(folder, 1)
    (path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=sentence):
        load_checkpoint(path)


def test_a_pickle_with_code_in_it_is_not_run(folder: Path, tmp_path: Path) -> None:
    path = save(folder, 1)

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "trapped"),)

    (path / "state.pt").write_bytes(pickle.dumps(Trap()))
    _manifest.write_manifest(path, 1, FILES[:-1])  # an attacker writes hashes too
    with pytest.raises(CheckpointError, match=r"state\.pt is no state of a run"):
        load_checkpoint(path)
    assert not (tmp_path / "trapped").exists()


def test_a_file_that_holds_no_tensors_is_refused(folder: Path) -> None:
    path = save(folder, 1)
    (path / "model.safetensors").write_bytes(b"\xff" * 100)
    _manifest.write_manifest(path, 1, FILES[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors holds no tensors"):
        load_checkpoint(path)


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

    def test_a_real_limit_on_the_size_of_files(self, folder: Path, tmp_path: Path) -> None:
        """It strikes inside safetensors, inside torch.save, and while the manifest is written."""
        save(folder, 1)
        save(folder, 2)
        text = f"""
import resource, torch
from flowops.training.checkpoint import CheckpointError, save_checkpoint
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
            _checkpoint_folders.put_in_place(temporary, place)
        assert load_checkpoint(place).step == 2
        assert steps_in(folder) == [2]


class TestWeights:
    def test_only_their_file_is_needed(self, folder: Path) -> None:
        save(folder, 1)
        path = save(folder, 2)
        (path / "state.pt").unlink()
        for average, seed in ((None, 2), ("0.999", 3), ("power-0.05", 4)):
            step, weights = load_weights(folder, average=average)
            assert step == 2
            torch.testing.assert_close(weights, tensors(seed), rtol=0, atol=0)
        assert load_weights(folder, 1)[0] == 1

    def test_damaged_ones_are_passed_over_unless_asked_for(self, folder: Path) -> None:
        save(folder, 1)
        (save(folder, 2) / "ema-0.999.safetensors").write_bytes(b"")
        assert load_weights(folder, average="0.999")[0] == 1
        assert load_weights(folder)[0] == 2
        with pytest.raises(CheckpointError, match=r"ema-0\.999\.safetensors must have .* bytes, got 0: it is cut"):
            load_weights(folder, 2, "0.999")

    def test_missing_ones(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError, match="must hold a checkpoint, and does not"):
            load_weights(folder)
        save(folder, 1)
        with pytest.raises(FileNotFoundError, match="must hold a checkpoint of step 7, and does not"):
            load_weights(folder, 7)
        with pytest.raises(
            CheckpointError, match=r"ema-0\.5\.safetensors must be in the checkpoint, which holds ema-0\.999"
        ):
            load_weights(folder, 1, "0.5")

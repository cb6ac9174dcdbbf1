"""Checkpoints that are read: what comes back is what was saved, and damage is found by name."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from flowops.runs.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, load_weights
from flowops.runs.saving import write_manifest
from tests.examples import normal
from tests.runs.checkpoints import FILES, save, tensors


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
    assert not told


def test_checkpoints_of_which_none_is_whole_are_not_taken_for_none(folder: Path) -> None:
    for step in (3, 4):
        (save(folder, step) / "manifest.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"must hold a checkpoint that is whole .* 2 that are not.*4/manifest"
    ) as e:
        latest_checkpoint(folder, pytest.fail)
    assert "\n" not in str(e.value)


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
    write_manifest(path, 1, FILES[:-1])  # an attacker writes hashes too
    with pytest.raises(CheckpointError, match=r"state\.pt is no state of a run"):
        load_checkpoint(path)
    assert not (tmp_path / "trapped").exists()


def test_a_file_that_holds_no_tensors_is_refused(folder: Path) -> None:
    path = save(folder, 1)
    (path / "model.safetensors").write_bytes(b"\xff" * 100)
    write_manifest(path, 1, FILES[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors holds no tensors"):
        load_checkpoint(path)


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

    def test_damaged_ones_are_passed_over_with_the_words_of_a_resumption_unless_asked_for(self, folder: Path) -> None:
        save(folder, 1)
        (save(folder, 2) / "ema-0.999.safetensors").write_bytes(b"")
        told, resumed = list[str](), list[str]()
        assert load_weights(folder, average="0.999", report=told.append)[0] == 1
        latest_checkpoint(folder, resumed.append)
        assert told == resumed
        assert told[0].startswith("Checkpoint 2 is not used: ")
        assert load_weights(folder, report=pytest.fail)[0] == 2
        with pytest.raises(CheckpointError, match=r"ema-0\.999\.safetensors must have .* bytes, got 0: it is cut"):
            load_weights(folder, 2, "0.999")

    def test_missing_ones(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError, match="must hold a checkpoint, and does not"):
            load_weights(folder)
        save(folder, 1)
        with pytest.raises(FileNotFoundError, match="must hold a checkpoint of step 7, and does not"):
            load_weights(folder, 7)
        with pytest.raises(
            CheckpointError, match=r"`average` must be one of 0\.999, power-0\.05 or none in .*/1, got '0\.5'"
        ):
            load_weights(folder, 1, "0.5")

    def test_of_several_averages_the_first_that_is_there_is_taken(self, folder: Path) -> None:
        save(folder, 1)
        told: list[str] = []
        for wanted, found in ((("0.999", "power-0.05"), 2), (("0.5", "power-0.05"), 3), (("0.5",), 2)):
            _, weights = load_weights(folder, average=wanted, report=told.append)
            torch.testing.assert_close(weights, tensors(found), rtol=0, atol=0)
        assert told == [
            "Checkpoint 1 holds no average 0.5, which was added later: power-0.05 is used.",
            "Checkpoint 1 holds no average 0.5, which was added later: 0.999 is used.",
        ]

    def test_one_set_aside_by_a_process_that_was_killed_is_found_by_its_step(self, folder: Path) -> None:
        save(folder, 2).rename(folder / "2.replaced")
        assert load_weights(folder, 2)[0] == 2

"""Going on with a run: bit for bit, under other settings, and never while another one lives in its folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowops.networks import MLP
from flowops.runs import (
    CheckpointError,
    HardwareConfig,
    NetworkConfig,
    OptimizerConfig,
    Run,
    TrainConfig,
    load_config,
    save_config,
)
from flowops.runs.assembly import assemble, completed
from flowops.runs.checkpoint import load_checkpoint
from flowops.training import NotCompiledError, StepReport, train
from flowops.training.engine import Engine
from tests.runs.small import PERCEPTRON, UNET, Make, maker, silent
from tests.training.parts import Images
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
TRANSFORMER = NetworkConfig("dit", width=8, depth=1, heads=2, features=8, dropout=0.1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of eight steps; tests change copies of it."""
    return train(maker(tmp_path_factory.mktemp("finished"))(), report=silent).folder.path


@pytest.fixture
def ended(small: Make, finished: Path) -> TrainConfig:
    """Settings of a run that came to its end in this folder."""
    config = small()
    shutil.copytree(finished, config.out)
    return config


class TestGoingOn:
    @pytest.mark.usefixtures("pictures")
    @pytest.mark.parametrize(
        ("dataset", "network"),
        [
            ("checkerboard", PERCEPTRON),
            pytest.param("digits", NetworkConfig(UNET.kind, UNET.options, dropout=0.1), marks=pytest.mark.slow),
            pytest.param("digits", TRANSFORMER, marks=pytest.mark.slow),
        ],
        ids=["checkerboard", "digits", "digits, a transformer"],
    )
    def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
        self, small: Make, dataset: str, network: NetworkConfig
    ) -> None:
        shared: dict[str, Any] = {
            "dataset": dataset,
            "network": network,
            "options": ("weight=learned",),
            "power": (0.1,),
            "optimizer": OptimizerConfig(schedule="constant"),
        }
        whole = small("whole", **shared)
        train(whole, report=silent)
        parts = small("parts", **shared)
        train(replace(parts, steps=5), report=silent)
        train(parts, resume=True, report=silent)
        assert_same_bits(state_of(whole, 8), state_of(parts, 8))
        rows = [(Path(c.out) / "metrics.csv").read_text().splitlines() for c in (whole, parts)]
        assert [row.split(",")[:3] for row in rows[0]] == [row.split(",")[:3] for row in rows[1]]

    def test_an_average_that_the_method_looks_at_is_resumed(self, small: Make) -> None:
        whole, parts = (small(name, options=("ema_teacher=true",), averages=(0.9,)) for name in ("whole", "parts"))
        train(whole, report=silent)
        train(replace(parts, steps=5), report=silent)
        train(parts, resume=True, report=silent)
        assert_same_bits(state_of(whole, 8), state_of(parts, 8))

    def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(self, ended: TrainConfig, finished: Path) -> None:
        file = Path(ended.out) / "checkpoints" / "8" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:100])
        lines: list[str] = []
        train(ended, resume=True, report=lines.append)
        assert "model.safetensors" in lines[0]
        assert "Going on from step 4 of 8" in lines[1]
        assert_same_bits(state_of(replace(ended, out=str(finished)), 8), state_of(ended, 8))

    def test_a_branch_that_was_given_up_is_gone_when_the_other_is_saved(self, ended: TrainConfig) -> None:
        state = Path(ended.out) / "checkpoints" / "8" / "state.pt"
        state.write_bytes(b"")
        rate = OptimizerConfig(rate=0.1)
        run = train(replace(ended, steps=6, optimizer=rate), resume=True, report=silent)
        read = Run.load(ended.out)
        assert (run.step, read.step) == (6, 6)
        torch.testing.assert_close(read.sample(5), run.sample(5), rtol=0, atol=0)

    def test_a_wish_to_compile_is_heard_although_it_could_not_be_done_before(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def refuse(*_: Any) -> str:
            asked.append("refused")
            return "The loss did not compile"

        monkeypatch.setattr("flowops.training.engine.check_compiled", refuse)
        plain = Engine.__init__

        def auto(self: Engine, *arguments: Any) -> None:
            plain(self, *arguments)
            self.compiling = self.config.hardware.compile != "no"  # as on a GPU

        monkeypatch.setattr(Engine, "__init__", auto)
        config = small(steps=4)
        train(config, report=silent)
        train(replace(config, steps=6), resume=True, report=silent)
        assert asked == ["refused"]  # what could not be compiled is not tried again by itself
        yes = replace(config, steps=8, hardware=HardwareConfig(compile="yes"))
        with pytest.raises(NotCompiledError, match="did not compile"):
            train(yes, resume=True, report=silent)

    def test_resuming_nothing_starts_and_resuming_the_end_does_nothing(self, small: Make) -> None:
        config, lines = small(), list[str]()
        train(config, resume=True, report=lines.append)
        before = (Path(config.out) / "metrics.csv").read_bytes()
        run = train(config, resume=True, report=lines.append)
        assert ["starting from the first step" in lines[0], "is finished" in lines[1]] == [True, True]
        assert run.step == 8
        assert (Path(config.out) / "metrics.csv").read_bytes() == before

    def test_an_existing_folder_is_left_alone(self, ended: TrainConfig) -> None:
        with pytest.raises(FileExistsError, match="pass resume=True"):
            train(ended, report=silent)

    def test_a_run_does_not_go_on_as_another_one(self, small: Make) -> None:
        options = ("ema_teacher=true",)
        train(small(steps=1, options=options), report=silent)
        with pytest.raises(ValueError, match="`batch` must stay 16 to resume this run, got 8"):
            train(small(batch=8, options=options), resume=True, report=silent)
        with pytest.raises(ValueError, match="`averages` must stay .*the method looks at the first average"):
            train(small(averages=(0.5,), options=options), resume=True, report=silent)

    def test_checkpoints_that_are_all_damaged_are_not_trained_over(self, ended: TrainConfig) -> None:
        files = sorted(Path(ended.out).glob("checkpoints/*/state.pt"))
        for file in files:
            file.write_bytes(b"")
        with pytest.raises(CheckpointError, match="must hold a checkpoint that is whole to go on from, and holds 2"):
            train(ended, resume=True, report=silent)
        assert all(file.read_bytes() == b"" for file in files)

    def test_a_full_disk_is_told_with_the_folder(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("flowops.training.start.write_text", full)
        config = small()
        with pytest.raises(OSError, match=rf"The run in {config.out} ended .* \(No space left on device\); .* resume"):
            train(config, report=silent)
        assert not Path(config.out).exists()

    def test_settings_that_are_gone_are_asked_for(self, ended: TrainConfig) -> None:
        (Path(ended.out) / "config.yaml").unlink()
        with pytest.raises(FileNotFoundError, match=r"config.yaml` must be a configuration file, and there is none"):
            train(ended, resume=True, report=silent)

    def test_facts_that_are_damaged_are_written_anew(self, small: Make) -> None:
        config, lines = small(steps=4), list[str]()
        train(config, report=silent)
        (Path(config.out) / "run.json").write_text("{")
        train(replace(config, steps=6), resume=True, report=lines.append)
        assert "run.json is written anew, and whether the data are those of before is not known" in lines[0]
        assert Run.load(config.out).step == 6

    def test_the_run_of_the_first_weights_is_not_needed_again(self, small: Make) -> None:
        first = train(small("first", steps=1), report=silent)
        config = small("second", init=str(first.folder.path), steps=4)
        train(config, report=silent)
        first.folder.path.rename(first.folder.path.with_name("moved"))
        assert train(replace(config, steps=6), resume=True, report=silent).step == 6

    def test_a_network_that_became_another_is_named(self, small: Make) -> None:
        train(small(steps=4), network=Images(2), report=silent)
        with pytest.raises(
            CheckpointError, match=r"Checkpoint 4 must be of the network of this run, and 6 are missing"
        ):
            train(small(steps=8), network=MLP(2, width=4, depth=1), resume=True, report=silent)


class TestChanges:
    """A run may go on under other settings, which then hold, and are told and written down."""

    def changes(self, config: TrainConfig) -> list[tuple[int, str, Any, Any]]:
        held = json.loads((Path(config.out) / "run.json").read_text())["changes"]
        return [tuple(change.values()) for change in held]

    def test_those_of_the_optimizer_hold_from_the_checkpoint_on(self, small: Make) -> None:
        config = small(steps=4)
        train(config, report=silent)
        assert self.changes(config) == []
        optimizer = OptimizerConfig(rate=1e-9, beta1=0.5, clip=2.0)
        changed, lines = replace(config, steps=6, optimizer=optimizer), list[str]()
        train(changed, resume=True, report=lines.append)
        assert "`optimizer.rate` is 1e-09 from step 4 on, before it was 0.001." in lines
        before, after = (state_of(config, step) for step in (4, 6))
        weights = "weights.last.weight"
        torch.testing.assert_close(after[weights], before[weights], rtol=1e-6, atol=1e-7)
        held = load_checkpoint(Path(config.out) / "checkpoints" / "6").state["optimizer"]["param_groups"]
        assert [group["betas"] for group in held] == [(0.5, 0.99)]
        assert Run.load(config.out).config == completed(changed, {}, (2,))
        assert self.changes(config) == [
            (4, "steps", 4, 6),
            (4, "optimizer.rate", 0.001, 1e-9),
            (4, "optimizer.beta1", 0.9, 0.5),
            (4, "optimizer.clip", 1.0, 2.0),
        ]

    def test_those_of_muon_hold_in_both_parts(self, small: Make) -> None:
        config = small(steps=4, optimizer=OptimizerConfig("muon"))
        train(config, report=silent)
        before = state_of(config, 4)
        optimizer = OptimizerConfig("muon", rate=1e-12, matrix_rate=1e-12)
        train(replace(config, steps=5, optimizer=optimizer), resume=True, report=silent)
        after = state_of(config, 5)
        for name in ("hidden.1.weight", "last.weight"):
            torch.testing.assert_close(after[f"weights.{name}"], before[f"weights.{name}"], rtol=1e-6, atol=1e-8)

    def test_averages_are_added_and_given_up(self, small: Make) -> None:
        config = small(steps=4, averages=(0.9,), power=(0.1,))
        train(config, report=silent)
        changed, lines = replace(config, steps=5, averages=(0.5, 0.9), power=(0.2,)), list[str]()
        train(changed, resume=True, report=lines.append)
        assert "Averages added, which start from the weights of step 4: 0.5, power-0.2." in lines
        assert "Averages that are no longer kept: power-0.1." in lines
        before, after = (load_checkpoint(Path(config.out) / "checkpoints" / step) for step in ("4", "5"))
        assert (before.since, after.since) == ({}, {"0.5": 4, "power-0.2": 4})
        assert list(after.averages) == ["0.5", "0.9", "power-0.2"]
        wanted = torch.lerp(before.weights["last.bias"], after.weights["last.bias"], 0.6)  # 1 - 6/15
        torch.testing.assert_close(after.averages["0.5"]["last.bias"], wanted)
        train(replace(changed, steps=6), resume=True, report=silent)
        assert load_checkpoint(Path(config.out) / "checkpoints" / "6").since == after.since

    def test_a_run_can_be_read_before_an_average_that_was_added_is_saved(
        self, small: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = small(steps=4, averages=(0.9,))
        run = train(config, report=silent)
        save_config(run.folder.config, replace(load_config(run.folder.config), averages=(0.5,)))  # and it was killed
        read = Run.load(config.out)
        assert capsys.readouterr().err == ("Checkpoint 4 holds no average 0.5, which was added later: 0.9 is used.\n")
        torch.testing.assert_close(read.sample(4), run.sample(4), rtol=0, atol=0)

    def test_what_holds_for_steps_that_are_done_again_holds_from_there(self, ended: TrainConfig) -> None:
        longer = replace(ended, steps=9)
        train(longer, resume=True, report=silent)
        for step in (8, 9):
            (Path(ended.out) / "checkpoints" / str(step) / "state.pt").unlink()
        train(replace(longer, steps=10), resume=True, report=silent)
        assert self.changes(ended) == [(4, "steps", 8, 9), (4, "steps", 9, 10)]

    def test_data_may_move_and_not_change(self, small: Make, tmp_path: Path) -> None:
        here, there = tmp_path / "here.npz", tmp_path / "folder" / "there.npz"
        points = np.random.default_rng(0).normal(size=(2, 32, 2)).astype(np.float32)
        np.savez(here, x0=points[0], x1=points[1])
        train(small(dataset=f"pairs:{here}", steps=4), report=silent)
        there.parent.mkdir()
        here.rename(there)
        moved = small(dataset=f"pairs:{there}", steps=6)
        run = train(moved, resume=True, report=silent)
        assert self.changes(moved)[0] == (4, "dataset", "pairs:here.npz", "pairs:there.npz")
        assert Run.load(run.folder.path).base(3).shape == (3, 2)
        np.savez(there, x0=points[0], x1=points[0])
        with pytest.raises(ValueError, match="`dataset` must stay 'pairs:.* to resume this run, got 'pairs:"):
            train(replace(moved, steps=8), resume=True, report=silent)


class TestOneAtATime:
    """A folder in which a run lives is written by no other."""

    def test_a_second_run_is_refused_and_changes_nothing(self, small: Make) -> None:
        config, refused = small(), list[str]()

        def second(report: StepReport) -> None:
            if report.step == 6:
                before = {path: path.read_bytes() for path in Path(config.out).rglob("*") if path.is_file()}
                for resume in (False, True):
                    with pytest.raises(OSError, match=".") as caught:
                        train(config, resume=resume, report=silent)
                    refused.append(str(caught.value))
                assert before == {path: path.read_bytes() for path in Path(config.out).rglob("*") if path.is_file()}
                assert Run.load(config.out).step == 4  # readers need no lock

        train(config, report=silent, callbacks=[second])
        assert "`out` must be a new folder" in refused[0]
        assert f"{config.out} is held by process {os.getpid()} on" in refused[1]
        assert not (Path(config.out) / ".lock").exists()

    def test_one_that_was_ready_before_another_began_does_not_write_over_it(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config, done = small(), list[int]()

        def late(*arguments: Any, **options: Any) -> Any:
            if not done:
                done.append(1)
                train(config, report=silent)
            return assemble(*arguments, **options)

        monkeypatch.setattr("flowops.training.start.assemble", late)
        with pytest.raises(FileExistsError, match="`out` must be a new folder"):
            train(replace(config, steps=2), report=silent)
        assert Run.load(config.out).step == 8

"""Runs from start to end: what they are made of, what they write, how they go on."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import flowops
from flowops import VelocityField, interpolants, problems
from flowops.data import Batch, Dataset, Pairs, open_dataset
from flowops.methods import METHODS
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
from flowops.runs.assembly import assemble
from flowops.runs.checkpoint import load_checkpoint
from flowops.runs.settings import completed
from flowops.training import StepReport, train
from flowops.training.start import module_of
from tests.runs.small import PERCEPTRON, UNET, Make, silent
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.usefixtures("pictures")
def test_a_run_is_three_lines(small: Make) -> None:
    config = small()
    run = flowops.train(config)
    x = run.sample(n=5, steps=2)
    assert x.shape == (5, 2)
    assert run.step == 8


@pytest.mark.usefixtures("pictures")
def test_the_folder_holds_what_the_documentation_says(small: Make) -> None:
    config = small()
    train(config, report=silent)
    out = Path(config.out)
    assert load_config(out / "config.yaml") == completed(config, {}, (2,))
    facts = json.loads((out / "run.json").read_text())
    assert facts["seed"] == 0
    assert facts["versions"]["torch"] == torch.__version__
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:2] == ["step", "loss"]
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert all(float(row["loss"]) > 0 for row in rows)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["4", "8"]
    assert (out / "checkpoints" / "8" / "model.safetensors").is_file()
    assert (out / "samples" / "8.png").is_file()
    assert (out / "telemetry.csv").is_file()


class TestGoingOn:
    @pytest.mark.parametrize(
        ("dataset", "network"),
        [("checkerboard", PERCEPTRON), ("digits", NetworkConfig(UNET.kind, UNET.options, dropout=0.1))],
        ids=["checkerboard", "digits"],
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

    def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(self, small: Make) -> None:
        whole, damaged = small("whole"), small("damaged")
        train(whole, report=silent)
        train(damaged, report=silent)
        file = Path(damaged.out) / "checkpoints" / "8" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:100])
        lines: list[str] = []
        train(damaged, resume=True, report=lines.append)
        assert "model.safetensors" in lines[0]
        assert "Going on from step 4 of 8" in lines[1]
        assert_same_bits(state_of(whole, 8), state_of(damaged, 8))

    def test_resuming_nothing_starts_and_resuming_the_end_does_nothing(self, small: Make) -> None:
        config, lines = small(), list[str]()
        train(config, resume=True, report=lines.append)
        before = (Path(config.out) / "metrics.csv").read_bytes()
        run = train(config, resume=True, report=lines.append)
        assert ["starting from the first step" in lines[0], "is finished" in lines[1]] == [True, True]
        assert run.step == 8
        assert (Path(config.out) / "metrics.csv").read_bytes() == before

    def test_an_existing_folder_is_left_alone(self, small: Make) -> None:
        config = small()
        train(config, report=silent)
        with pytest.raises(FileExistsError, match="pass resume=True"):
            train(config, report=silent)

    def test_a_run_does_not_go_on_as_another_one(self, small: Make) -> None:
        options = ("ema_teacher=true",)
        train(small(steps=1, options=options), report=silent)
        with pytest.raises(ValueError, match="`batch` must stay 16 to resume this run, got 8"):
            train(small(batch=8, options=options), resume=True, report=silent)
        with pytest.raises(ValueError, match="`averages` must stay .*the method looks at the first average"):
            train(small(averages=(0.5,), options=options), resume=True, report=silent)

    def test_checkpoints_that_are_all_damaged_are_not_trained_over(self, small: Make) -> None:
        config = small()
        train(config, report=silent)
        files = sorted(Path(config.out).glob("checkpoints/*/state.pt"))
        for file in files:
            file.write_bytes(b"")
        with pytest.raises(CheckpointError, match="must hold a checkpoint that is whole to go on from, and holds 2"):
            train(config, resume=True, report=silent)
        assert all(file.read_bytes() == b"" for file in files)

    def test_a_full_disk_is_told_with_the_folder(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("flowops.training.start.write_text", full)
        config = small()
        with pytest.raises(OSError, match=rf"The run in {config.out} ended .* \(No space left on device\); .* resume"):
            train(config, report=silent)
        assert not Path(config.out).exists()

    def test_settings_that_are_gone_are_asked_for(self, small: Make) -> None:
        config = small()
        train(config, report=silent)
        (Path(config.out) / "config.yaml").unlink()
        with pytest.raises(FileNotFoundError, match=r"config.yaml` must be a configuration file, and there is none"):
            train(config, resume=True, report=silent)

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

    def test_what_holds_for_steps_that_are_done_again_holds_from_there(self, small: Make) -> None:
        config = small(steps=8)
        train(config, report=silent)
        longer = replace(config, steps=9)
        train(longer, resume=True, report=silent)
        for step in (8, 9):
            (Path(config.out) / "checkpoints" / str(step) / "state.pt").unlink()
        train(replace(longer, steps=10), resume=True, report=silent)
        assert self.changes(config) == [(4, "steps", 8, 9), (4, "steps", 9, 10)]

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


class TestDefaults:
    """What is left out is that of the data set, and is written down."""

    def test_those_of_a_data_set_of_ones_own_hold(self, small: Make) -> None:
        config = small(steps=None, batch=None, checkpoint_every=None, network=NetworkConfig())
        run = train(config, report=silent, dataset=Plane())
        assert run.step == 3
        assert (run.config.steps, run.config.batch, run.config.averages) == (3, 6, (0.25,))
        assert (run.config.network.kind, run.config.network.options) == ("mlp", ("width=6", "depth=1"))
        assert run.config.optimizer.schedule == "linear"
        assert Run.load(run.folder.path).config == run.config
        assert 6 in {p.shape[0] for p in run.X.parameters()}

    def test_given_ones_win(self, small: Make) -> None:
        config = small(
            steps=2, batch=None, network=NetworkConfig(depth=2), averages=(0.5,),
            optimizer=OptimizerConfig(schedule="constant"),
        )  # fmt: skip
        run = train(config, report=silent, dataset=Plane())
        assert (run.step, run.config.batch, run.config.averages) == (2, 6, (0.5,))
        assert run.config.network.options == ("width=6", "depth=2")
        assert run.config.optimizer.schedule == "constant"

    def test_settings_are_checked_when_they_are_complete(self, small: Make) -> None:
        config = small(steps=None, batch=None, optimizer=OptimizerConfig(warmup=4))
        with pytest.raises(ValueError, match="`optimizer.warmup` must be below `steps` = 3 for a linear schedule"):
            train(config, report=silent, dataset=Plane())
        config = small(batch=None, hardware=HardwareConfig(accumulate=4))
        with pytest.raises(ValueError, match="`batch` must be a multiple of hardware.accumulate = 4, got 6"):
            train(config, report=silent, dataset=Plane())

    def test_a_run_goes_on_under_them(self, small: Make) -> None:
        config = small(steps=None, batch=None, network=NetworkConfig())
        train(replace(config, steps=2), report=silent, dataset=Plane())
        assert train(config, resume=True, report=silent, dataset=Plane()).step == 3


class TestObjects:
    """A data set, a network and a teacher may be objects in place of names."""

    def test_a_network_that_knows_times_and_states_only_trains_on_labelled_data(self, small: Make) -> None:
        lines: list[str] = []
        run = train(small(dataset="digits", steps=2, averages=(0.9,)), network=Images(), report=lines.append)
        assert "The network takes no `label`, so the map of digits is unconditional." in lines
        assert run.classes == ()
        assert run.sample(3, steps=2).shape == (3, 1, 8, 8)
        assert isinstance(run.X.network, Images)
        assert bool(run.X.network.inner.weight.any())  # it began at zero
        assert run.config.network.kind == "given"

    def test_a_network_that_takes_labels_sees_them(self, small: Make) -> None:
        Conditional.seen.clear()
        run = train(small(dataset="digits", steps=2, averages=(0.9,)), network=Conditional(), report=silent)
        assert run.classes == tuple("0123456789")
        assert set(Conditional.seen) <= set(range(10))
        assert len(set(Conditional.seen)) > 1
        assert not torch.equal(run.sample(2, label=0), run.sample(2, label=1))

    def test_a_network_of_ones_own_is_audited_before_the_first_step(self, small: Make) -> None:
        with pytest.raises(ValueError, match="BatchNorm"):
            train(small(steps=1), network=Broken(), report=silent)
        with pytest.raises(ValueError, match="BatchNorm"):
            train(small("named", network=NetworkConfig(f"{__name__}:broken"), steps=1), report=silent)
        assert not (Path(small().out) / "metrics.csv").exists()

    def test_a_network_of_the_library_is_not_audited_nor_is_one_that_need_not_be(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError

        monkeypatch.setattr("flowops.training.start.audit", refuse)
        train(small(steps=1), report=silent)
        train(small("unchecked", steps=1, audit=False), network=Images(2), report=silent)
        with pytest.raises(AssertionError):
            train(small("own", steps=1), network=Images(2), report=silent)

    def test_a_parameterization_holds_for_a_network_that_is_given(self, small: Make) -> None:
        config = small(network=NetworkConfig(parameterization="edm"), steps=1)
        run = train(config, network=Images(2), report=silent)
        assert run.X.parameterization is not None
        assert run.config.network.parameterization == "edm"

    def test_data_are_trained_on(self, small: Make) -> None:
        run = train(small(steps=2), dataset=pairs(), report=silent)
        named = train(small("named", f"{__name__}:pairs", steps=2), report=silent)
        assert_same_bits(state_of(run.config, 2), state_of(named.config, 2))
        assert run.config.dataset == "given"
        assert run.dataset.provenance == named.dataset.provenance
        assert run.sample(3).shape == (3, 2)

    def test_a_teacher_is_distilled(self, small: Make) -> None:
        b = problems.REFERENCE["gaussian"](interpolants.linear()).b
        run = train(small(method="lmd", steps=2), teacher=b, report=silent)
        named = train(small("named", method="lmd", teacher="problem:gaussian", steps=2), report=silent)
        other = train(small("other", method="lmd", teacher="problem:mixture", steps=2), report=silent)
        assert_same_bits(state_of(run.config, 2), state_of(named.config, 2))
        assert not torch.equal(run.sample(4), other.sample(4))
        assert run.config.teacher == "given"

    def test_a_map_may_stand_for_its_field(self, small: Make) -> None:
        first = train(small("first", method="fm", steps=2), report=silent)
        by_map, by_field = (
            train(small(name, method="lmd", steps=2), teacher=teacher, report=silent)
            for name, teacher in (("map", first.X), ("field", first.X.velocity()))
        )
        torch.testing.assert_close(by_map.sample(4), by_field.sample(4))

    def test_a_run_goes_on_with_them(self, small: Make) -> None:
        def start(name: str, steps: int, resume: bool = False) -> Any:
            config = small(name, method="lmd", steps=steps)
            objects = {"dataset": pairs(), "network": Images(2), "teacher": Still()}
            train(config, resume=resume, report=silent, **objects)  # type: ignore[arg-type]
            return config

        whole = start("whole", 8)
        start("parts", 5)
        assert_same_bits(state_of(whole, 8), state_of(start("parts", 8, resume=True), 8))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"dataset": 3}, "`dataset` must be a flowops.data.Dataset, got int"),
            ({"dataset": [torch.zeros(4, 2)]}, "`dataset` must be a flowops.data.Dataset, got list"),
            ({"network": silent}, "`network` must be an nn.Module, got function"),
            ({"network": nn.Linear}, "`network` must be an nn.Module, got type"),
            ({"teacher": nn.Linear(2, 2)}, "`teacher` must be a VelocityField or a FlowMap, got Linear"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_objects_of_another_kind_are_refused(self, small: Make, given: dict[str, Any], message: str) -> None:
        config = small()
        with pytest.raises(TypeError, match=message) as caught:
            train(config, report=silent, **given)
        assert "\n" not in str(caught.value)
        assert not Path(config.out).exists()


class TestWeights:
    def test_the_seed_decides(self, small: Make) -> None:
        first, again, other = small("first"), small("again"), small("other", seed=1)
        for config in (first, again, other):
            train(config, report=silent)
        assert_same_bits(state_of(first, 8), state_of(again, 8))
        assert not torch.equal(*(state_of(c, 8)["weights.last.weight"] for c in (first, other)))

    def test_first_weights_come_from_another_run(self, small: Make) -> None:
        first = train(small("first"), report=silent)
        config = small("second", init=first.folder.path.as_posix(), steps=1, optimizer=OptimizerConfig(rate=1e-12))
        second = train(config, report=silent)
        x0 = first.base(6)
        torch.testing.assert_close(second.X(0.0, 1.0, x0), first.X(0.0, 1.0, x0), rtol=1e-4, atol=1e-5)

    def test_those_of_another_network_are_refused_in_one_sentence(self, small: Make) -> None:
        first = train(small("first", steps=1), report=silent)
        other = NetworkConfig(PERCEPTRON.kind, width=9, depth=3, octaves=1)
        with pytest.raises(
            ValueError,
            match=r"`init` must be a run of the network of this one, and in .*first 2 are miss"
            r"ing \(hidden.2.weight, hidden.2.bias\) and 5 are of another shape .* pass init_partial=True",
        ) as caught:
            train(small("second", init=str(first.folder.path), network=other), report=silent)
        assert "\n" not in str(caught.value)
        assert not Path(small("second").out).exists()

    def test_what_fits_of_them_is_taken_on_request(self, small: Make) -> None:
        first, lines = train(small("first", steps=4), report=silent), list[str]()
        deeper = NetworkConfig(PERCEPTRON.kind, width=8, depth=3, octaves=1)
        shared: dict[str, Any] = {"network": deeper, "steps": 1, "optimizer": OptimizerConfig(rate=1e-12)}
        config = small("second", init=str(first.folder.path), init_partial=True, **shared)
        train(config, report=lines.append)
        assert lines[0].startswith("8 of 10 weights are those of ")
        assert lines[0].endswith("; hidden.2.weight, hidden.2.bias keep their first values.")
        fresh = small("fresh", **shared)
        train(fresh, report=silent)
        found, plain = state_of(config, 1), state_of(fresh, 1)
        for name, value in first.X.network.state_dict().items():
            torch.testing.assert_close(found[f"weights.{name}"], value)
        for name in ("hidden.2.weight", "hidden.2.bias"):
            torch.testing.assert_close(found[f"weights.{name}"], plain[f"weights.{name}"])

    def test_nothing_in_common_is_refused(self, small: Make) -> None:
        first = train(small("first", steps=1), report=silent)
        config = small("second", init=str(first.folder.path), init_partial=True)
        with pytest.raises(
            ValueError, match="`init` must have weights in common with this network, and in .* 2 are miss"
        ):
            train(config, network=Images(2), report=silent)

    def test_they_may_come_from_a_network_that_was_an_object(self, small: Make) -> None:
        first = train(small("first", steps=2), network=Images(2), report=silent)
        config = small("second", steps=1, init=str(first.folder.path), optimizer=OptimizerConfig(rate=1e-12))
        second = train(config, network=Images(2), report=silent)
        torch.testing.assert_close(dict(second.X.named_parameters()), dict(first.X.named_parameters()))

    @pytest.mark.parametrize("use", ["init", "teacher"])
    def test_a_damaged_average_is_told_of_and_the_one_before_is_taken(self, small: Make, use: str) -> None:
        first, lines = train(small("first", method="fm"), report=silent), list[str]()
        (first.folder.checkpoints / "8" / "ema-0.999.safetensors").write_bytes(b"")
        method = "lmd" if use == "teacher" else "lsd"
        train(small("second", method=method, steps=1, **{use: str(first.folder.path)}), report=lines.append)
        assert lines[0].startswith("Checkpoint 8 is not used: ")
        assert "ema-0.999.safetensors must have" in lines[0]

    def test_a_teacher_whose_settings_name_another_network_is_one_sentence(self, small: Make) -> None:
        first = train(small("first", method="fm", steps=1), report=silent)
        first.folder.config.write_text(first.folder.config.read_text().replace("width=8", "width=9"))
        with pytest.raises(
            CheckpointError, match=r"first/checkpoints/1 must be those of the network of config.yaml, and 5 "
        ):
            train(small("second", method="lmd", teacher=str(first.folder.path)), report=silent)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.row.teacher])
def test_every_method_without_a_teacher_trains(small: Make, name: str) -> None:
    run = train(small(method=name, steps=2, checkpoint_every=0), report=silent)
    assert bool(run.sample(4, steps=2).isfinite().all())


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.row.teacher])
def test_every_method_with_a_teacher_trains(small: Make, name: str) -> None:
    config = small(method=name, steps=2, checkpoint_every=0, teacher="problem:gaussian")
    assert bool(train(config, report=silent).sample(4, steps=2).isfinite().all())


@pytest.mark.parametrize("name", ["lsd", "cd", "ctm", "ct"])
def test_an_average_of_the_map_is_beside_the_teacher(small: Make, name: str) -> None:
    teacher = "problem:gaussian" if METHODS[name].row.teacher else None
    plain, averaged = (
        train(small(run, method=name, teacher=teacher, options=options, averages=(0.5,)), report=silent)
        for run, options in (("plain", ()), ("averaged", ("ema_teacher=true",)))
    )
    assert bool(averaged.sample(4).isfinite().all())
    assert not torch.equal(plain.sample(4), averaged.sample(4))


def test_a_method_of_ones_own_trains(small: Make) -> None:
    run = train(small(method=f"{__name__}:own_row", steps=2), report=silent)
    other = train(small("other", steps=2), report=silent)
    named = train(small("named", steps=2, options=("eta=0.25",)), report=silent)
    assert_same_bits(state_of(run.config, 2), state_of(named.config, 2))
    assert not torch.equal(run.sample(4), other.sample(4))


@pytest.mark.parametrize("coupling", ["optimal-transport", "sinkhorn"])
def test_samples_are_coupled(small: Make, coupling: str) -> None:
    config, plain = small(coupling=coupling, steps=1), small("plain", steps=1)
    assert bool(train(config, report=silent).sample(4).isfinite().all())
    train(plain, report=silent)
    assert not torch.equal(*(state_of(c, 1)["weights.last.weight"] for c in (config, plain)))


def test_a_data_set_of_ones_own_is_found_by_its_factory(small: Make) -> None:
    run = train(small(dataset=f"{__name__}:pairs", steps=2), report=silent)
    assert run.sample(3).shape == (3, 2)


def test_the_map_its_average_and_the_teacher_share_no_weights(small: Make) -> None:
    config = completed(small(method="ctm", options=("ema_teacher=true",), teacher="problem:gaussian"), {}, (2,))
    assembly = assemble(config, torch.device("cpu"), dataset=open_dataset("checkerboard"))
    module = module_of(config, assembly, torch.device("cpu"))
    assert module.average is not None
    assert isinstance(module.teacher, VelocityField)
    pointers = {p.data_ptr() for p in module.X.parameters()} & {p.data_ptr() for p in module.average.parameters()}
    assert not pointers
    assert all(not p.requires_grad for p in module.average.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(small: Make) -> None:
    with pytest.raises(ValueError, match=r"`hardware\.accelerator` must be one that this machine has, got cuda"):
        train(small(hardware=HardwareConfig("cuda")), report=silent)


# ------------------------------------------------------------------------------------------------- of a user's own


def pairs() -> Dataset:
    """A data set of pairs."""
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return Pairs(x0, x0 + 1)


own_row = METHODS["lsd"].with_options(eta=0.25)


class Plane(Dataset):
    """Points of the plane, with settings that suit them."""

    name, event, provenance = "plane", torch.Size([2]), "plane: a test"
    defaults = {
        "steps": 3,
        "batch": 6,
        "averages": (0.25,),
        "network.kind": "mlp",
        "network.options": ("width=6", "depth=1"),
        "optimizer.schedule": "linear",
    }

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        source = torch.Generator().manual_seed(1000 * seed + step)
        return Batch(None, torch.randn(n, 2, generator=source) + 1, None)

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        return self.batch(0, n, seed=seed)

    def to(self, device: torch.device | str) -> Plane:
        return self


class Still(VelocityField):
    """A field of one's own."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return -x


class Images(nn.Module):
    """A plain network of times and states."""

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.inner = nn.Linear(size + 2, size)
        for parameter in self.inner.parameters():
            nn.init.zeros_(parameter)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.inner(torch.cat([x.flatten(1), s[:, None], t[:, None]], 1)).reshape(x.shape)


class Conditional(Images):
    """The same with labels."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        if label is None:
            return super().forward(s, t, x)
        self.seen.extend(label.tolist())
        return super().forward(s, t, x) + self.classes[label].reshape(x.shape)


class Broken(nn.Module):
    """A network that couples samples."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(2), nn.Linear(2, 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.layer(self.norm(x))


def broken(*_: object) -> nn.Module:
    """It by name."""
    return Broken()

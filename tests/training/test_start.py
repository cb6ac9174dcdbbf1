"""Runs from start to end: what they are made of, what they write, how they go on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import flowops
from flowops import VelocityField
from flowops.data import Batch, Dataset, open_dataset
from flowops.maps import JointMap, LearnedMap, Parameterization
from flowops.methods import METHODS
from flowops.networks import MLP
from flowops.runs import (
    HardwareConfig,
    NetworkConfig,
    OptimizerConfig,
    Run,
    load_config,
    save_config,
)
from flowops.runs.assembly import assemble, completed
from flowops.training import NotFinite, train
from flowops.training.loss_module import LossModule
from flowops.training.start import module_of
from tests.runs.small import PERCEPTRON, Make, silent
from tests.training.parts import pairs
from tests.training.states import assert_same_bits, state_of

SECOND_ORDER = replace(PERCEPTRON, parameterization="second-order")
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


class TestRefusals:
    """What is refused leaves no folder that the corrected call would stumble over."""

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"method": "contrastive-fm", "batch": 1}, "`contrastive-fm` must see at least two samples to contrast"),
            ({"options": ("label_dropout=0.5",)}, "`labels` must be given with label_dropout=0.5"),
        ],
    )
    def test_what_only_a_draw_or_a_loss_finds(self, small: Make, settings: dict[str, Any], message: str) -> None:
        config = small(**settings)
        with pytest.raises(ValueError, match=message):
            train(config, report=silent)
        assert not Path(config.out).exists()

    def test_also_where_the_run_would_have_gone_on(self, small: Make) -> None:
        with pytest.raises(ValueError, match="`labels` must be given with"):
            train(small(options=("label_dropout=0.5",)), resume=True, report=silent)
        assert train(small(), resume=True, report=silent).step == 8

    def test_settings_under_which_no_step_was_done_bind_nobody(self, small: Make) -> None:
        config = small()
        Path(config.out).mkdir()
        save_config(Path(config.out) / "config.yaml", replace(config, method="esd", seed=3))
        assert train(config, resume=True, report=silent).config.method == "lsd"

    def test_what_is_not_finite_from_the_start_is_kept_to_be_looked_at(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = LossModule.evaluate
        monkeypatch.setattr(LossModule, "evaluate", lambda *a: plain(*a)._replace(loss=plain(*a).loss * torch.nan))
        config = small(patience=3)
        with pytest.raises(NotFinite, match="Stopped at step 3"):
            train(config, report=silent)
        assert (Path(config.out) / "metrics.csv").is_file()
        monkeypatch.undo()
        rate = OptimizerConfig(rate=1e-4)
        assert train(replace(config, optimizer=rate), resume=True, report=silent).step == 8

    @pytest.mark.usefixtures("unchecked")
    def test_settings_and_callbacks_of_another_kind(self, small: Make) -> None:
        wrong: Any = "digits"
        with pytest.raises(TypeError, match=r"`config` must be a TrainConfig, got str; pass TrainConfig\('digits'\)"):
            train(wrong)
        wrong = [print, 3]
        with pytest.raises(TypeError, match="`callbacks` must be functions of a StepReport, or Loggers, got int"):
            train(small(), callbacks=wrong)

    def test_one_callback_needs_no_list(self, small: Make) -> None:
        seen: list[int] = []
        train(small(steps=2), report=silent, callbacks=lambda report: seen.append(report.step))
        assert seen == [1, 2]

    def test_what_was_an_object_is_asked_for_again(self, small: Make) -> None:
        train(small(dataset="mine", steps=2), dataset=pairs(), report=silent)
        with pytest.raises(ValueError, match="`dataset` must be given again, for it was an object"):
            train(replace(small(), dataset="given"), resume=True, report=silent)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.row.teacher])
def test_every_method_without_a_teacher_trains(small: Make, name: str) -> None:
    run = train(small(method=name, steps=2, checkpoint_every=0), report=silent)
    assert bool(run.sample(4, steps=2).isfinite().all())


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.row.teacher])
def test_every_method_with_a_teacher_trains(small: Make, name: str) -> None:
    config = small(method=name, steps=2, checkpoint_every=0, teacher="problem:gaussian")
    assert bool(train(config, report=silent).sample(4, steps=2).isfinite().all())


def test_a_joint_run_is_read_with_its_rate(small: Make) -> None:
    run = train(small(method="f2d2", teacher="problem:gaussian", steps=3), report=silent)
    read = Run.load(run.folder.path)
    assert isinstance(run.X, JointMap)
    assert isinstance(read.X, JointMap)
    x = run.sample(4)
    assert read.X.log_det_rate(0.2, 0.9, x).any()
    assert torch.equal(run.X.log_prob(x, steps=2), read.X.log_prob(x, steps=2))


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
    run = train(small(dataset=f"{pairs.__module__}:pairs", steps=2), report=silent)
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


@pytest.mark.parametrize("settings", [{"method": "lmd"}, {"network": SECOND_ORDER}])
def test_a_teacher_of_ones_own_is_not_trained(small: Make, settings: dict[str, Any]) -> None:
    config = small(**{"method": "lmd", **settings}, optimizer=OptimizerConfig(rate=0.1), averages=(0.1,))
    teacher, untouched = (
        LearnedMap(MLP(2, width=4, generator=torch.Generator().manual_seed(5))).velocity() for _ in range(2)
    )
    run = train(config, report=silent, teacher=teacher)
    torch.testing.assert_close(teacher.state_dict(), untouched.state_dict(), rtol=0, atol=0)
    read = Run.load(config.out, teacher=untouched)
    torch.testing.assert_close(read.sample(6), run.sample(6), rtol=0, atol=0)


class Scaled(Parameterization):
    """A parameterization with a weight that would learn."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


def test_weights_beside_those_of_the_network_are_refused_since_they_would_be_lost(small: Make) -> None:
    config = small(network=replace(PERCEPTRON, parameterization=f"{__name__}:Scaled"))
    with pytest.raises(
        ValueError,
        match="`network.parameterization` must have no weights that learn, .* got scale of .*Scaled; move them",
    ):
        train(config, report=silent)


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_numpy_and_lists_are_taken(small: Make) -> None:
    config = small(optimizer=OptimizerConfig(rate=np.logspace(-4, -2, 3)[1]), averages=[0.9])
    train(config, report=silent)
    assert load_config(Path(config.out) / "config.yaml").optimizer.rate == 1e-3
    lines: list[str] = []
    train(replace(config, steps=9), resume=True, report=lines.append)
    assert not any("`averages`" in line for line in lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(small: Make) -> None:
    with pytest.raises(ValueError, match=r"`hardware\.accelerator` must be one that this machine has, got cuda"):
        train(small(hardware=HardwareConfig("cuda")), report=silent)


# ------------------------------------------------------------------------------------------------- of a user's own


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

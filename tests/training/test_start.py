"""Runs from start to end: what they write, how they go on, how they stop."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.optim import RAdam

import flowops
from flowops.data import Dataset
from flowops.methods import METHODS
from flowops.training import (
    HardwareConfig,
    Interrupted,
    NetworkConfig,
    NotFinite,
    OptimizerConfig,
    Run,
    TrainConfig,
    load_config,
    train,
)
from flowops.training.checkpoint import load_checkpoint
from flowops.training.engine import Engine
from flowops.training.loss_module import LossModule, Outcome

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
Make = Callable[..., TrainConfig]


def silent(line: str) -> None:
    """Say nothing."""


def state_of(config: TrainConfig, step: int) -> dict[str, Tensor]:
    """Every tensor of a checkpoint: weights, averages, optimizer."""
    checkpoint = load_checkpoint(Path(config.out) / "checkpoints" / str(step))
    tensors = {f"weights.{name}": value for name, value in checkpoint.weights.items()}
    for average, values in checkpoint.averages.items():
        tensors |= {f"{average}.{name}": value for name, value in values.items()}
    for k, held in checkpoint.state["optimizer"]["state"].items():
        tensors |= {f"optimizer.{k}.{name}": value for name, value in held.items()}
    return tensors


def assert_same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


def test_a_run_is_three_lines(small: Make) -> None:
    config = small()
    run = flowops.train(config)
    x = run.sample(n=5, steps=2)
    assert x.shape == (5, 2)
    assert run.step == 8


def test_the_folder_holds_what_the_documentation_says(small: Make) -> None:
    config = small()
    train(config, report=silent)
    out = Path(config.out)
    assert load_config(out / "config.yaml") == config
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


@pytest.mark.parametrize("dataset", ["checkerboard", "digits"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(small: Make, dataset: str) -> None:
    network = NetworkConfig(width=8, depth=2, octaves=1, channels=4, multipliers=(1,), blocks=1, dropout=0.1)
    shared: dict[str, Any] = {"dataset": dataset, "network": network, "options": ("weight=learned",), "power": (0.1,)}
    whole = small("whole", **shared)
    train(whole, report=silent)
    parts = small("parts", **shared)
    train(replace(parts, steps=5), report=silent)
    train(parts, resume=True, report=silent)
    assert_same_bits(state_of(whole, 8), state_of(parts, 8))
    rows = [(Path(c.out) / "metrics.csv").read_text().splitlines() for c in (whole, parts)]
    assert [row.split(",")[:3] for row in rows[0]] == [row.split(",")[:3] for row in rows[1]]


def test_an_averaged_teacher_is_resumed(small: Make) -> None:
    whole, parts = (small(name, options=("ema_teacher=true",), averages=(0.9,)) for name in ("whole", "parts"))
    train(whole, report=silent)
    train(replace(parts, steps=5), report=silent)
    train(parts, resume=True, report=silent)
    assert_same_bits(state_of(whole, 8), state_of(parts, 8))


def test_the_rate_of_a_step_is_that_of_the_schedule(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plain = list[float](), Engine._advance

    def spy(self: Engine, *arguments: Any) -> None:
        plain(self, *arguments)
        seen.extend(group["lr"] for group in self.optimizer.param_groups)

    monkeypatch.setattr(Engine, "_advance", spy)
    train(small(optimizer=OptimizerConfig(rate=0.8, schedule="linear"), steps=4), report=silent)
    assert seen == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_a_large_gradient_is_cut_to_the_clip(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    norms, plain = list[float](), RAdam.step

    def spy(self: RAdam, *arguments: Any) -> Any:
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat(gradients).norm()))
        return plain(self, *arguments)

    monkeypatch.setattr(RAdam, "step", spy)
    for name, clip in (("free", 0.0), ("cut", 0.125)):
        train(small(name, optimizer=OptimizerConfig("radam", clip=clip), steps=2), report=silent)
    assert norms[0] > 0.5
    assert norms[2:] == pytest.approx([0.125, 0.125], rel=1e-4)


def test_pictures_are_those_of_the_average(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = list[dict[str, Tensor]]()
    monkeypatch.setattr("flowops.training.record.save_comparison", lambda _, rows: drawn.append(rows))
    run = train(small(averages=(0.9,)), report=silent)
    (rows,) = drawn
    torch.testing.assert_close(rows["2 steps"][:5], run.sample(5, steps=2))


def test_what_is_dropped_differs_from_step_to_step_and_part_to_part(small: Make) -> None:
    Noisy.seen.clear()
    network = NetworkConfig(kind=f"{__name__}:Noisy")
    train(small(method="fm", network=network, hardware=HardwareConfig(accumulate=2), steps=3), report=silent)
    drawn = [tuple(values) for values in Noisy.seen if len(values) == 8]
    assert len(set(drawn)) == len(drawn) == 6


def test_the_seed_decides(small: Make) -> None:
    first, again, other = small("first"), small("again"), small("other", seed=1)
    for config in (first, again, other):
        train(config, report=silent)
    assert_same_bits(state_of(first, 8), state_of(again, 8))
    assert not torch.equal(*(state_of(c, 8)["weights.last.weight"] for c in (first, other)))


def test_a_run_leaves_the_global_generator_as_it_was(small: Make) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(small(), report=silent)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(small: Make) -> None:
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


def test_resuming_nothing_starts_and_resuming_the_end_does_nothing(small: Make) -> None:
    config, lines = small(), list[str]()
    train(config, resume=True, report=lines.append)
    before = (Path(config.out) / "metrics.csv").read_bytes()
    run = train(config, resume=True, report=lines.append)
    assert ["starting from the first step" in lines[0], "is finished" in lines[1]] == [True, True]
    assert run.step == 8
    assert (Path(config.out) / "metrics.csv").read_bytes() == before


def test_an_existing_folder_is_left_alone(small: Make) -> None:
    config = small()
    train(config, report=silent)
    with pytest.raises(FileExistsError, match="--resume"):
        train(config, report=silent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(
    small: Make, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = small("whole"), small("parts")
    train(whole, report=silent)
    plain = Engine._advance

    def interrupted(self: Engine, *arguments: Any) -> None:
        plain(self, *arguments)
        if self.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Engine, "_advance", interrupted)
    with pytest.raises(Interrupted, match="after step 3 of 8") as caught:
        train(parts, report=silent)
    assert caught.value.signal == number.name
    monkeypatch.undo()
    train(parts, resume=True, report=silent)
    assert_same_bits(state_of(whole, 8), state_of(parts, 8))


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Losses that are not a number in some of the calls."""
    plain, calls = LossModule.evaluate, iter(range(1000))

    def evaluate(self: LossModule, draw: Any) -> Outcome:
        outcome = plain(self, draw)
        factor = float("nan") if next(calls) in steps else 1.0
        bad = {name: factor * values for name, values in outcome.per_term.items()}
        return outcome._replace(loss=factor * outcome.loss, per_term=bad)

    monkeypatch.setattr(LossModule, "evaluate", evaluate)


def test_a_step_without_a_finite_loss_is_skipped_and_counted(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {2, 5})
    run = train(small(), report=silent)
    assert all(bool(p.isfinite().all()) for p in run.X.parameters())
    assert load_checkpoint(run.folder.checkpoints / "8").state["skipped"] == (2, 0)
    last = run.folder.metrics.read_text().splitlines()[-1]
    assert float(last.split(",")[-1]) == 2


def test_a_run_without_finite_losses_stops_and_keeps_the_last_good_checkpoint(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, set(range(4, 100)))
    config = small(patience=3)
    with pytest.raises(NotFinite, match=r"step 7: 3 steps in a row .* in the term '.+' at sample .* seed="):
        train(config, report=silent)
    assert Run.load(config.out).step == 4


def test_skipped_steps_are_counted_on_after_resuming(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {1, 3, 4})
    config = small(patience=2)
    train(replace(config, steps=4), report=silent)
    with pytest.raises(NotFinite, match="step 5: 2 steps in a row"):
        train(config, resume=True, report=silent)
    assert load_checkpoint(Path(config.out) / "checkpoints" / "4").state["skipped"] == (2, 1)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_train_as_the_whole_batch(small: Make, parts: int) -> None:
    whole, cut = small("whole"), small("cut", hardware=HardwareConfig(accumulate=parts))
    for config in (whole, cut):
        train(config, report=silent)
    a, b = state_of(whole, 8), state_of(cut, 8)
    for name in a:
        if name.startswith("weights."):
            torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.row.teacher])
def test_every_method_without_a_teacher_trains(small: Make, name: str) -> None:
    run = train(small(method=name, steps=2, checkpoint_every=0), report=silent)
    assert bool(run.sample(4, steps=2).isfinite().all())


def test_an_averaged_teacher_is_the_average(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = Engine._update_teacher

    def spy(self: Engine) -> None:
        plain(self)
        held = self.module.teacher
        assert held is not None
        average = self.averages.state(self.averages.names[0])
        state = {name.removeprefix("network."): value for name, value in held.state_dict().items()}
        seen.append(all(torch.equal(value, average[name]) for name, value in state.items()))

    monkeypatch.setattr(Engine, "_update_teacher", spy)
    train(small(options=("ema_teacher=true",)), report=silent)
    assert len(seen) == 8
    assert all(seen)


def test_first_weights_come_from_another_run(small: Make) -> None:
    first = train(small("first"), report=silent)
    config = small("second", init=first.folder.path.as_posix(), steps=1, optimizer=OptimizerConfig(rate=1e-12))
    second = train(config, report=silent)
    x0 = first.base(6)
    torch.testing.assert_close(second.X(0.0, 1.0, x0), first.X(0.0, 1.0, x0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("coupling", ["optimal-transport", "sinkhorn"])
def test_samples_are_coupled(small: Make, coupling: str) -> None:
    config = small(coupling=coupling, steps=1)
    assert bool(train(config, report=silent).sample(4).isfinite().all())


def test_bfloat16_trains(small: Make) -> None:
    config = small(hardware=HardwareConfig(precision="bf16"), steps=3, dataset="digits")
    run = train(config, report=silent)
    assert all(p.dtype is torch.float32 for p in run.X.parameters())
    assert bool(run.sample(4).isfinite().all())


def test_the_network_is_audited_before_the_first_step(small: Make) -> None:
    config = small(audit=True, network=NetworkConfig(kind=f"{__name__}:broken"), steps=1)
    with pytest.raises(ValueError, match="BatchNorm"):
        train(config, report=silent)


def test_a_data_set_of_ones_own_is_found_by_its_factory(small: Make) -> None:
    run = train(small(dataset=f"{__name__}:pairs", steps=2), report=silent)
    assert run.sample(3).shape == (3, 2)


def pairs() -> Dataset:
    """A data set of pairs."""
    from flowops.data import PairedArrays

    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return PairedArrays(x0, x0 + 1)


class Noisy(torch.nn.Module):
    """A network that draws from the global generator, as dropout does."""

    seen: ClassVar[list[list[float]]] = []

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(torch.rand(len(x)).tolist())
        return self.scale * x


def broken(*_: object) -> torch.nn.Module:
    """A network that couples samples."""

    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.layer = torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2)

        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return self.layer(self.norm(x))

    return Broken()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(small: Make) -> None:
    with pytest.raises(ValueError, match=r"`hardware\.accelerator` must be one that this machine has, got cuda"):
        train(small(hardware=HardwareConfig("cuda")), report=silent)

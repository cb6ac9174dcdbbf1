"""The training loop: what a step does with gradients and rates, what ends it, what it tells of itself."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.optim import RAdam

from flowops.methods import MethodResult
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig, Run, TrainConfig
from flowops.runs.checkpoint import load_checkpoint
from flowops.training import Interrupted, NotFinite, StepReport, train
from flowops.training.engine import Engine
from flowops.training.loss_module import LossModule
from tests.runs.small import Make, silent
from tests.training.parts import rates
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
WIDE = NetworkConfig("mlp", width=8, depth=3)  # with square matrices


class TestSteps:
    def test_the_rate_is_that_of_the_schedule(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = rates(monkeypatch)
        train(small(optimizer=OptimizerConfig(rate=0.8, schedule="linear"), steps=4), report=silent)
        assert seen == [pytest.approx([rate]) for rate in (0.8, 0.6, 0.4, 0.2)]

    def test_a_large_gradient_is_cut_to_the_clip(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        norms, plain = list[float](), RAdam.step

        def spy(self: RAdam, *arguments: Any) -> Any:
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.cat(gradients).norm()))
            return plain(self, *arguments)

        monkeypatch.setattr(RAdam, "step", spy)
        for name, clip in (("free", 0.0), ("cut", 0.125)):
            train(small(name, optimizer=OptimizerConfig("radam", clip=clip), steps=2), report=silent)
        assert norms[0] > 0.25
        assert norms[2:] == pytest.approx([0.125, 0.125], rel=1e-4)

    def test_forced_weights_have_length_one_behind_every_step_and_in_what_is_saved(self, small: Make) -> None:
        options: dict[str, Any] = {
            "channels": 4,
            "multipliers": (1,),
            "blocks": 1,
            "attention": (),
            "magnitude_preserving": True,
        }
        for name, forced in (("free", False), ("forced", True)):
            network = NetworkConfig("unet", **options, forced_normalization=forced)
            optimizer = OptimizerConfig("radam", rate=0.1)
            options_of = ("weight=LearnedPositional(8)",)
            config = small(name, "digits", network=network, optimizer=optimizer, options=options_of, audit=False)
            train(config, report=silent)
            found = load_checkpoint(Path(config.out) / "checkpoints" / "8")
            weight = found.weights["down.0.conv0.weight"]
            off = (weight.square().mean((1, 2, 3)).sqrt() - 1).abs().max()
            assert (off < 1e-3) == forced
            assert abs(float(found.state["method"]["weight.network.last.weight"].square().mean()) - 1) < 1e-3

    def test_what_is_dropped_differs_from_step_to_step_and_part_to_part(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)  # it calls the network as well
        Noisy.seen.clear()
        config = small(method="fm", hardware=HardwareConfig(accumulate=2), steps=3, audit=False)
        train(config, network=Noisy(), report=silent)
        drawn = [tuple(values) for values in Noisy.seen if len(values) == 8]
        assert len(set(drawn)) == len(drawn) == 6

    def test_a_run_leaves_the_global_generator_as_it_was(self, small: Make) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        train(small(), report=silent)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("parts", [2, 4])
    def test_accumulated_parts_train_as_the_whole_batch(self, small: Make, parts: int) -> None:
        whole, cut = small("whole"), small("cut", hardware=HardwareConfig(accumulate=parts))
        for config in (whole, cut):
            train(config, report=silent)
        a, b = state_of(whole, 8), state_of(cut, 8)
        for name in a:
            if name.startswith("weights."):
                torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)

    def test_the_average_that_the_method_looks_at_is_the_first(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        plain = Engine._update_average

        def spy(self: Engine) -> None:
            plain(self)
            held = self.module.average
            assert held is not None
            average = self.averages.state(self.averages.names[0])
            state = {name.removeprefix("network."): value for name, value in held.state_dict().items()}
            seen.append(all(torch.equal(value, average[name]) for name, value in state.items()))

        monkeypatch.setattr(Engine, "_update_average", spy)
        train(small(options=("ema_teacher=true",)), report=silent)
        assert len(seen) == 8
        assert all(seen)

    def test_an_average_of_the_methods_own_follows_its_ladder_and_is_resumed_with_its_bits(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[Tensor, Tensor]] = []
        plain = Engine._update_average

        def spy(self: Engine) -> None:
            plain(self)
            assert self.module.average is not None
            both = (nn.utils.parameters_to_vector(X.parameters()) for X in (self.module.X, self.module.average))
            seen.append(tuple(flat.detach() for flat in both))  # type: ignore[arg-type]

        monkeypatch.setattr(Engine, "_update_average", spy)
        whole, parts = (small(name, method="ct", options=("paper=true",)) for name in ("whole", "parts"))
        train(whole, report=silent)
        expected = seen[0][1]
        for step, (weights, average) in enumerate(seen[1:], 1):
            decay = 0.9 ** (2 / 3)  # from two rungs to three after the first step
            expected = decay * expected + (1 - decay) * weights
            torch.testing.assert_close(average, expected, msg=f"after step {step + 1}")
        said: list[str] = []
        train(replace(parts, steps=5), report=silent)
        train(parts, resume=True, report=said.append)
        assert_same_bits(state_of(whole, 8), state_of(parts, 8))
        assert any(name.startswith("target.") for name in state_of(whole, 8))
        assert not [line for line in said if "verage" in line]

    def test_bfloat16_trains(self, small: Make) -> None:
        config = small(hardware=HardwareConfig(precision="bf16"), steps=3, dataset="digits")
        run = train(config, report=silent)
        assert all(p.dtype is torch.float32 for p in run.X.parameters())
        assert bool(run.sample(4).isfinite().all())


class TestMuon:
    CONFIG = OptimizerConfig("muon", rate=0.01, matrix_rate=0.04, schedule="constant")

    def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = rates(monkeypatch)
        config = replace(self.CONFIG, warmup=10)
        whole, parts = (small(name, network=WIDE, optimizer=config) for name in ("whole", "parts"))
        train(whole, report=silent)
        train(replace(parts, steps=5), report=silent)
        train(parts, resume=True, report=silent)
        assert_same_bits(state_of(whole, 8), state_of(parts, 8))
        assert any("momentum_buffer" in name for name in state_of(whole, 8))
        wanted = [pytest.approx([0.01 * k / 10, 0.04 * k / 10]) for k in range(1, 9)]
        assert seen == wanted + wanted  # of the matrices too, and after resuming

    def test_it_trains_otherwise_than_adam(self, small: Make) -> None:
        configs = (small("muon", network=WIDE, optimizer=self.CONFIG), small("adam", network=WIDE))
        for config in configs:
            train(replace(config, optimizer=replace(config.optimizer, rate=0.01)), report=silent)
        one, two = (state_of(config, 8) for config in configs)
        square = [name for name, value in one.items() if name.startswith("weights.") and value.shape == (8, 8)]
        assert square
        assert not any(torch.equal(one[name], two[name]) for name in square)

    def test_the_rate_of_the_matrices_moves_them_alone_in_the_first_step(self, small: Make) -> None:
        runs = []
        for name, rate in (("slow", 1e-9), ("fast", 0.1)):
            config = small(name, network=WIDE, optimizer=replace(self.CONFIG, matrix_rate=rate), steps=1)
            train(config, report=silent)
            runs.append({k: v for k, v in state_of(config, 1).items() if k.startswith("weights.")})
        slow, fast = runs
        for name, value in slow.items():
            assert torch.equal(value, fast[name]) == (value.ndim != 2 or value.shape[0] != value.shape[1])


def test_muon_serves_square_matrices_alone(small: Make) -> None:
    square = nn.Linear(2, 2, bias=False)

    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = square

        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return self.inner(x)

    before = square.weight.detach().clone()
    config = small(dataset="moons", optimizer=OptimizerConfig("muon"), steps=2)
    train(config, report=silent, network=Square())
    assert not torch.equal(before, square.weight)


class TestReports:
    def reports(self, config: TrainConfig, **given: Any) -> list[StepReport]:
        found: list[StepReport] = []
        train(config, report=silent, callbacks=(found.append,), **given)
        return found

    def test_there_is_one_for_every_step(self, small: Make) -> None:
        found = self.reports(small(optimizer=OptimizerConfig(rate=0.4, schedule="linear")))
        assert [report.step for report in found] == list(range(1, 9))
        assert [report.done for report in found] == pytest.approx([k / 8 for k in range(1, 9)])
        assert [report.rate for report in found] == pytest.approx([0.4 * (1 - k / 8) for k in range(8)])
        assert all(report.draw.size == 16 for report in found)
        assert all(report.skipped == 0 for report in found)
        waited = [report.waited for report in found]
        assert waited == sorted(waited)
        assert waited[0] >= 0
        assert len({report.draw.seed.item() for report in found}) == 8

    def test_it_holds_the_loss_that_is_written(self, small: Make) -> None:
        config = small()
        found = self.reports(config)
        lines = (Path(config.out) / "metrics.csv").read_text().splitlines()[1:]
        for report, line in zip(found, lines, strict=True):
            step, loss, norm, rate = line.split(",")[:4]
            (result,) = report.results
            assert int(step) == report.step
            assert float(loss) == pytest.approx(float(result.loss))
            assert float(norm) == pytest.approx(float(report.norm))
            assert float(rate) == report.rate
            assert not result.loss.requires_grad
            assert not any(value.requires_grad for value in (*result.terms.values(), result.per_sample))
            assert len(result.per_sample) == 16

    def test_the_norm_is_that_before_the_clip(self, small: Make) -> None:
        free, cut = (
            self.reports(small(name, optimizer=OptimizerConfig(clip=clip), steps=1))[0]
            for name, clip in (("free", 0.0), ("cut", 1e-3))
        )
        assert free.norm.shape == ()
        assert float(free.norm) > 1e-2
        torch.testing.assert_close(cut.norm, free.norm)

    @pytest.mark.parametrize("parts", [1, 2])
    def test_there_is_a_result_for_every_part(self, small: Make, parts: int) -> None:
        for report in self.reports(small(hardware=HardwareConfig(accumulate=parts), steps=2)):
            assert [len(result.per_sample) for result in report.results] == [16 // parts] * parts

    def test_its_run_has_the_averaged_weights_of_that_step(self, small: Make) -> None:
        log = LogConfig(keep=0, tensorboard=False, progress=False)
        config, x0, seen = small(averages=(0.5,), checkpoint_every=1, log=log), torch.ones(3, 2), dict[int, Tensor]()

        def look(report: StepReport) -> None:
            run = report.run()
            assert run.step == report.step
            seen[report.step] = run.sample(x0=x0, steps=2)

        train(config, report=silent, callbacks=(look,))
        for step, x in seen.items():
            torch.testing.assert_close(Run.load(config.out, step=step).sample(x0=x0, steps=2), x, rtol=0, atol=0)
        assert not torch.equal(seen[1], seen[8])

    def test_looking_changes_nothing(self, small: Make) -> None:
        quiet, watched = small("quiet"), small("watched")

        def look(report: StepReport) -> None:
            report.run().sample(4)

        train(quiet, report=silent)
        train(watched, report=silent, callbacks=(look, look))
        assert_same_bits(state_of(quiet, 8), state_of(watched, 8))

    def test_a_run_that_goes_on_tells_of_its_own_steps(self, small: Make) -> None:
        self.reports(small(steps=3))
        assert [report.step for report in self.reports(small(), resume=True)] == [4, 5, 6, 7, 8]

    def test_skipped_steps_are_told(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        spoil(monkeypatch, {2, 5})
        found = self.reports(small())
        assert [int(report.skipped) for report in found] == [0, 0, 1, 1, 1, 2, 2, 2]
        assert [bool(report.norm.isfinite()) for report in found] == [k not in (2, 5) for k in range(8)]

    def test_what_is_saved_is_there_before_the_callbacks_are_called(self, small: Make) -> None:
        def fail(report: StepReport) -> None:
            if report.step in (4, 8):
                raise OSError(f"at {report.step}")

        config = small(checkpoint_every=0, steps=4)
        with pytest.raises(OSError, match="at 4"):
            train(config, report=silent, callbacks=[fail])
        assert Run.load(config.out).step == 4
        config = small("other", checkpoint_every=4, steps=12)
        for step in (4, 8):
            with pytest.raises(OSError, match=f"at {step}"):
                train(config, report=silent, callbacks=[fail], resume=step > 4)
            assert Run.load(config.out).step == step

    def test_an_error_of_a_callback_ends_the_run(self, small: Make) -> None:
        def fail(report: StepReport) -> None:
            if report.step == 3:
                raise RuntimeError("enough")

        with pytest.raises(RuntimeError, match="enough"):
            train(small(), report=silent, callbacks=(fail,))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(small: Make, number: signal.Signals) -> None:
    whole, parts = small("whole"), small("parts")
    train(whole, report=silent)

    def interrupt(report: StepReport) -> None:
        if report.step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="after step 3 of 8") as caught:
        train(parts, report=silent, callbacks=(interrupt,))
    assert caught.value.signal == number.name
    train(parts, resume=True, report=silent)
    assert_same_bits(state_of(whole, 8), state_of(parts, 8))


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Losses that are not a number in some of the calls."""
    plain, calls = LossModule.evaluate, iter(range(1000))

    def evaluate(self: LossModule, draw: Any) -> MethodResult:
        result = plain(self, draw)
        factor = float("nan") if next(calls) in steps else 1.0
        bad = {name: factor * values for name, values in result.per_term.items()}
        return result._replace(loss=factor * result.loss, per_term=bad)

    monkeypatch.setattr(LossModule, "evaluate", evaluate)


class TestNotFinite:
    def test_a_step_without_a_finite_loss_is_skipped_and_counted(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spoil(monkeypatch, {2, 5})
        run = train(small(), report=silent)
        assert all(bool(p.isfinite().all()) for p in run.X.parameters())
        assert load_checkpoint(run.folder.checkpoints / "8").state["skipped"] == (2, 0)
        last = run.folder.metrics.read_text().splitlines()[-1]
        assert float(last.split(",")[6]) == 2

    def test_a_run_without_finite_losses_stops_and_keeps_the_last_good_checkpoint(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spoil(monkeypatch, set(range(4, 100)))
        config = small(patience=3)
        with pytest.raises(NotFinite, match=r"step 7: 3 steps in a row .* in the term '.+' at sample .* seed="):
            train(config, report=silent)
        assert Run.load(config.out).step == 4

    def test_skipped_steps_are_counted_on_after_resuming(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        spoil(monkeypatch, {1, 3, 4})
        config = small(patience=2)
        train(replace(config, steps=4), report=silent)
        with pytest.raises(NotFinite, match="step 5: 2 steps in a row"):
            train(config, resume=True, report=silent)
        assert load_checkpoint(Path(config.out) / "checkpoints" / "4").state["skipped"] == (2, 1)

    @pytest.mark.parametrize(("steps", "stopped"), [(100, 10), (7, 7)])
    def test_a_run_that_looks_now_and_then_stops_where_it_looks(
        self, small: Make, monkeypatch: pytest.MonkeyPatch, steps: int, stopped: int
    ) -> None:
        spoil(monkeypatch, set(range(4, 200)))
        config = small(patience=3, steps=steps, hardware=HardwareConfig("cpu", look_every=10))
        with pytest.raises(NotFinite, match=f"step {stopped}: {stopped - 4} steps in a row"):
            train(config, report=silent)
        last, four = Run.load(config.out, average="none"), Run.load(config.out, average="none", step=4)
        assert last.step == (8 if steps == 100 else 4)
        for ours, theirs in zip(last.X.parameters(), four.X.parameters(), strict=True):
            assert torch.equal(ours, theirs)  # steps that were not finite changed nothing


class Noisy(nn.Module):
    """A network that draws from the global generator, as dropout does."""

    seen: ClassVar[list[list[float]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(torch.rand(len(x)).tolist())
        return self.scale * x

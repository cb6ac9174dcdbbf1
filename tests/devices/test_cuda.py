"""On a device that is there: every case with values, the engine, compilation, precision, processes, data and samples.

Each test runs on the CPU as well, where it says little of CUDA but that the test itself is sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import Interpolant, LearnedMap
from flowops._keys import normal_like
from flowops.data.images import Images, Split
from flowops.interpolants import linear, time_of_noise_level, variance_exploding
from flowops.methods import get_method
from flowops.networks import MLP, UNet
from flowops.networks.audit import fill_zeros
from flowops.runs import HardwareConfig, OptimizerConfig
from flowops.sampling import SOLVERS, gamma_sample, noise, restart_sample, sample, solve
from flowops.times import Karras, Ladder
from flowops.training import LossModule, train
from flowops.training.averages import Averages
from flowops.training.optimization import optimizer_of, update
from tests.devices import compiled
from tests.devices.cases import Case
from tests.devices.real import CUDA, DEVICES, run_twice
from tests.devices.table import GROUPS
from tests.programs import run
from tests.runs.small import maker, silent
from tests.training.states import assert_same_bits, state_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*singular:UserWarning")]
devices = pytest.mark.parametrize("device", DEVICES)
SMALL: dict[str, Any] = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
CASES = [pytest.param(case, id=f"{group.title}-{case.name}") for group in GROUPS for case in group.cases]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=CUDA)])
def test_every_case_runs_with_values_and_waits_only_where_the_table_says(case: Case, device: str) -> None:
    run_twice(case, device)


def learned() -> LearnedMap:
    """A perceptron."""
    return LearnedMap(MLP(2, width=16, depth=2, generator=torch.Generator().manual_seed(0)))


def pictures(preserving: bool = False) -> LearnedMap:
    """A U-Net without a layer that is zero."""
    source = torch.Generator().manual_seed(0)
    network = UNet((3, 8, 8), magnitude_preserving=preserving, generator=source, **SMALL)
    fill_zeros(network)
    return LearnedMap(network)


class TestEngine:
    def config(self, folder: Path, name: str, device: str, **changed: Any) -> Any:
        """A run of ten steps with looks at the device in between."""
        hardware = HardwareConfig(device, compile="no", look_every=3)
        return replace(maker(folder)(name, steps=10, hardware=hardware, labels=False), **changed)

    @devices
    @pytest.mark.parametrize("kind", ["adam", "radam", "muon"])
    def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(self, tmp_path: Path, device: str, kind: Any) -> None:
        whole, parts = (
            self.config(tmp_path, name, device, optimizer=OptimizerConfig(kind)) for name in ("whole", "parts")
        )
        assert train(whole, report=silent).device.type == device
        train(replace(parts, steps=5), report=silent)
        train(parts, report=silent, resume=True)
        assert_same_bits(state_of(whole, 10), state_of(parts, 10))

    @devices
    def test_the_loss_falls(self, tmp_path: Path, device: str) -> None:
        found: list[torch.Tensor] = []
        fast = OptimizerConfig(rate=0.02)
        config = self.config(tmp_path, "run", device, method="fm", steps=60, batch=256, optimizer=fast)
        train(config, report=silent, callbacks=[lambda report: found.append(report.results[0].loss)])
        losses = torch.stack(found)
        assert losses.device.type == device
        assert losses[-10:].mean() < 0.95 * losses[:10].mean()

    @devices
    @pytest.mark.parametrize("kind", ["adam", "adamw", "radam", "muon"])
    def test_a_step_that_is_not_finite_changes_nothing(self, device: str, kind: Any) -> None:
        network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)).to(device)
        optimizer = optimizer_of(OptimizerConfig(kind), network.parameters())
        averages = Averages(network, (0.5,))

        def step(k: int, finite: bool) -> list[torch.Tensor]:
            for p in network.parameters():
                p.grad = torch.full_like(p, 0.1 if finite else torch.nan)
            update(optimizer, torch.full((), finite, device=device))
            averages.update(network, k, torch.full((), finite, device=device))
            return [value.detach().clone() for value in (*network.parameters(), *averages.parameters())]

        first = step(1, finite=True)
        assert all(torch.equal(a, b) for a, b in zip(first, step(2, finite=False), strict=True))
        after = step(3, finite=True)
        assert not any(torch.equal(a, b) for a, b in zip(first, after, strict=True))
        assert all(bool(value.isfinite().all()) for value in after)


class TestLoss:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("device", "kind", "names"),
        [
            ("cpu", "mlp", ["lsd"]),
            pytest.param("cuda", "mlp", list(compiled.METHODS), marks=CUDA),
            pytest.param("cuda", "unet", list(compiled.METHODS), marks=CUDA),
        ],
    )
    def test_the_compiled_loss_is_the_uncompiled_one(
        self, tmp_path: Path, device: str, kind: str, names: list[str]
    ) -> None:
        program = f"from tests.devices.compiled import main\nmain({device!r}, {kind!r}, *{names!r})"
        assert [line.split()[0] for line in run(tmp_path, program).splitlines()] == names

    @devices
    @pytest.mark.parametrize("name", compiled.METHODS)
    @pytest.mark.parametrize("preserving", [False, True], ids=["plain", "preserving"])
    def test_bfloat16_goes_forward_and_backward(self, device: str, name: str, preserving: bool) -> None:
        X, held = pictures(preserving).to(device), pictures().to(device).requires_grad_(False)
        method = get_method(name)
        teacher = held.velocity() if method.row.teacher else None
        modules = [
            LossModule(X, method, linear().to(device), teacher, hardware=HardwareConfig(precision=precision))
            for precision in ("32", "bf16")
        ]
        x0, x1 = torch.randn(2, 16, 3, 8, 8, generator=torch.Generator().manual_seed(2)).to(device)
        draw = method.draw(X, modules[0].interpolant, x0, x1, teacher=teacher, seed=3)
        (loss, slope), (near, like) = (compiled.gradient(module, draw) for module in modules)
        assert near.dtype is like.dtype is torch.float32
        assert all(p.dtype is torch.float32 for p in X.parameters())
        assert_close(near, loss, rtol=0.05, atol=0)
        assert torch.nn.functional.cosine_similarity(like, slope, dim=0) > 0.95

    @devices
    @pytest.mark.slow
    def test_one_process_in_a_group_computes_what_it_does_alone(self, tmp_path: Path, device: str) -> None:
        program = f"from tests.devices.together import main\nmain({device!r}, {str(tmp_path)!r})"
        assert "agrees" in run(tmp_path, program)


class TestData:
    @devices
    @pytest.mark.parametrize("resident", [True, False])
    def test_batches_are_those_of_the_cpu(self, device: str, resident: bool) -> None:
        pixels = torch.arange(40 * 12, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(40, 3, 2, 2)
        labels = torch.arange(40)
        images = Images("own", {"train": Split(pixels, labels)}, provenance="", flips=True, resident=resident)
        moved = images.to(device)
        assert moved.pixels().device.type == (device if resident else "cpu")
        for step in range(3):
            here, there = images.batch(step, 16, seed=0), moved.batch(step, 16, seed=0)
            assert there.x1.device.type == device
            assert_close(there.x1.cpu(), here.x1, rtol=0, atol=0)
            assert there.labels is not None
            assert_close(there.labels.cpu(), here.labels, rtol=0, atol=0)

    @devices
    def test_the_shares_of_processes_are_the_rows_of_one(self, device: str) -> None:
        x = torch.empty(24, 3, device=device)
        whole = normal_like(x, "name", 1)
        for count in (2, 3):
            for k in range(count):
                assert torch.equal(normal_like(x[: 24 // count], "name", 1, part=(k, count)), whole[k::count])


class TestTimes:
    @devices
    def test_a_schedule_that_does_not_fall_is_seen(self, device: str) -> None:
        I, sigma = Interpolant(lambda t: 1 + t, lambda t: 2 - t), torch.ones(3, device=device)
        if device == "cpu":
            with pytest.raises(ValueError, match="falls from base to data"):
                time_of_noise_level(I, sigma)
        else:
            assert bool(time_of_noise_level(I, sigma).isnan().all())

    @devices
    def test_rungs_that_cannot_be_told_apart_are_seen(self, device: str) -> None:
        def pair() -> Any:
            return Ladder(18, Karras())(5, interpolant=variance_exploding(0.1, 10.0), device=device)

        if device == "cpu":
            with pytest.raises(ValueError, match="must place its rungs at different times"):
                pair()
        else:
            assert bool(pair().s.isnan().all())


class TestSamples:
    @devices
    @pytest.mark.parametrize("make", [learned, pictures])
    def test_they_are_those_of_the_cpu(self, device: str, make: Callable[[], LearnedMap]) -> None:
        X, event = make().requires_grad_(False), (2,) if make is learned else (3, 8, 8)
        x0, I, grid = noise(6, event, seed=0), linear(), [0.0, 0.4, 1.0]
        moved, I_ = make().requires_grad_(False).to(device), linear().to(device)
        before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        try:
            pairs = [
                (sample(X, x0, grid, chunk=4), sample(moved, x0.to(device), grid, chunk=4)),
                (
                    gamma_sample(X, I, x0, grid, 0.5, seed=1, chunk=4),
                    gamma_sample(moved, I_, x0.to(device), grid, 0.5, seed=1, chunk=4),
                ),
                (
                    restart_sample(X, I, x0, grid, (0.4, 1.0), 1, seed=1, chunk=4),
                    restart_sample(moved, I_, x0.to(device), grid, (0.4, 1.0), 1, seed=1, chunk=4),
                ),
            ]
            for name in SOLVERS:
                given: dict[str, Any] = {} if name == "dopri5" else {"grid": grid}
                here, there = (dict(given), dict(given))
                if name in ("ddim", "dpm-solver"):
                    here["interpolant"], there["interpolant"] = I, I_
                a, b = solve(X.velocity(), x0, name, **here), solve(moved.velocity(), x0.to(device), name, **there)
                pairs.append((a.x, b.x))
        finally:
            torch.backends.cudnn.allow_tf32 = before
        for here_, there_ in pairs:
            assert there_.device.type == device
            assert_close(there_.cpu(), here_, rtol=1e-3, atol=1e-3)

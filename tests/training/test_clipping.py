"""The largest norm of a gradient: as a number, and as a multiple of what the norms have been."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from flowops.networks import MLP
from flowops.runs import OptimizerConfig
from flowops.runs.checkpoint import load_checkpoint
from flowops.training import StepReport, train
from flowops.training.optimization import DECAY, Clip
from tests.runs.small import Make, silent
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
RUNNING = OptimizerConfig("radam", clip=1.2, clip_unit="running-norm")


def given(module: nn.Module, seed: int, size: float = 1.0) -> Tensor:
    """Give every parameter a gradient, of norm `size` all together; returns all of them."""
    source = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source)
    flat = whole(module)
    for parameter in module.parameters():
        assert parameter.grad is not None
        parameter.grad *= size / float(flat.norm())
    return whole(module)


def whole(module: nn.Module) -> Tensor:
    """The gradient."""
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("unit", ["one", "running-norm"])
@pytest.mark.parametrize("limit", [0.0, 0.5, 100.0])
def test_the_norm_is_that_before_the_clip(limit: float, unit: str) -> None:
    module, clip = MLP(2, width=4, depth=1), Clip(limit, unit)
    if unit == "running-norm":
        given(module, 1)
        clip(module.parameters())  # of norm one, so that the limit is that of the other unit
    before = given(module, 0, 3.0)
    norm, most = clip(module.parameters())
    torch.testing.assert_close(norm, before.norm())
    assert norm.shape == most.shape == ()
    assert float(most) == pytest.approx(limit or math.inf)
    torch.testing.assert_close(whole(module), before * (min(1.0, limit / 3) if limit else 1.0), rtol=1e-4, atol=1e-6)


def test_the_running_norm_is_the_mean_of_what_was_allowed() -> None:
    module, clip = MLP(2, width=4, depth=1), Clip(1.5, "running-norm")
    sizes = [1.0, 4.0, 0.5, 10.0, *[2.0] * 300]
    mean = 0.0
    for k, size in enumerate(sizes):
        limit = 1.5 * mean if k else math.inf
        given(module, k, size)
        norm, most = clip(module.parameters())
        assert float(norm) == pytest.approx(size, rel=1e-5)
        assert float(most) == pytest.approx(limit, rel=1e-4)
        assert float(whole(module).norm()) == pytest.approx(min(size, limit), rel=1e-4)
        mean += max(1 - DECAY, 1 / (k + 1)) * (min(size, limit) - mean)
    assert mean == pytest.approx(2.0, rel=0.05)


def test_a_step_within_the_limit_keeps_its_bits() -> None:
    module, clip = MLP(2, width=4, depth=1), Clip(1.5, "running-norm")
    for seed in range(5):
        before = given(module, seed)
        clip(module.parameters())
        assert torch.equal(whole(module), before)


def test_a_spike_hardly_moves_the_limit_and_what_stays_is_followed() -> None:
    module, clip = MLP(2, width=4, depth=1), Clip(2.0, "running-norm")
    limits = []
    for k in range(1200):
        given(module, k, 1.0 if k < 200 else 1e6 if k == 200 else 1.0 if k < 300 else 100.0)
        limits.append(float(clip(module.parameters())[1]))
    assert limits[201] == pytest.approx(limits[200] * 1.01, rel=1e-3)  # whatever its height
    assert limits[299] < limits[201]
    assert limits[-1] > 100.0  # nothing is cut any more


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_is_not_taken_in(value: float) -> None:
    module, clip = MLP(2, width=4, depth=1), Clip(2.0, "running-norm")
    given(module, 0)
    clip(module.parameters())
    before = {name: held.clone() for name, held in clip.state_dict().items()}
    given(module, 1)
    next(module.parameters()).grad.fill_(value)  # type: ignore[union-attr]
    assert not bool(clip(module.parameters())[0].isfinite())
    assert all(torch.equal(clip.state_dict()[name], held) for name, held in before.items())


class Noted:
    """A callback that keeps norms and limits."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def __call__(self, report: StepReport) -> None:
        self.seen.append((float(report.norm), float(report.most)))

    @property
    def share(self) -> float:
        """That of the steps which were cut."""
        return sum(norm > most for norm, most in self.seen) / len(self.seen)


class TestRuns:
    def noted(self, config: Any) -> Noted:
        noted = Noted()
        train(config, report=silent, callbacks=noted)
        return noted

    def test_a_loss_times_a_number_is_cut_at_the_same_steps_by_as_much(self, small: Make) -> None:
        # of Adam, whose steps do not change with the size of a loss; the first ones of RAdam do
        units: tuple[tuple[Literal["running-norm", "one"], bool], ...] = (("running-norm", True), ("one", False))
        for unit, same in units:
            optimizer = replace(RUNNING, kind="adam", clip_unit=unit)
            one, large = (
                self.noted(small(f"{unit}-{w}", optimizer=optimizer, options=(f"weight={w}",), steps=30))
                for w in ("1", "1024")
            )
            if same:
                for a, b in zip(one.seen, large.seen, strict=True):
                    assert b == pytest.approx([1024 * value for value in a], rel=1e-3)
                assert 0 < large.share == one.share < 1
            else:
                assert one.share < large.share == 1

    def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(self, small: Make) -> None:
        one, parts = (small(name, optimizer=RUNNING, steps=12) for name in ("whole", "parts"))
        noted = self.noted(one)
        train(replace(parts, steps=8), report=silent)
        again = Noted()
        train(parts, resume=True, report=silent, callbacks=again)
        assert_same_bits(state_of(one, 12), state_of(parts, 12))
        assert again.seen == noted.seen[8:]

    def test_a_run_may_take_it_up_and_one_that_was_saved_without_goes_on(self, small: Make) -> None:
        config = small(optimizer=OptimizerConfig("radam"))
        train(replace(config, steps=4), report=silent)
        assert load_checkpoint(f"{config.out}/checkpoints/4").state["clip"] == {}
        noted = Noted()
        train(replace(config, optimizer=RUNNING), resume=True, report=silent, callbacks=noted)
        assert noted.seen[0][1] == math.inf
        assert noted.seen[1][1] < math.inf

"""Runs that end by the clock."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import pytest

from flowops.methods import Draw, MethodResult
from flowops.runs import NetworkConfig, OptimizerConfig, Run, TrainConfig
from flowops.training import Interrupted, StepReport, train
from flowops.training.engine import Engine
from tests.runs.small import Make, silent
from tests.training.parts import rates
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
WIDE = NetworkConfig("mlp", width=8, depth=3)  # with square matrices


class Clock:
    """A clock that a test moves: `seconds` a step."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 1000.0, seconds

    def monotonic(self) -> float:
        """The time."""
        return self.now


class TestMinutes:
    """A run that ends by the clock, which is a clock of the test."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock, gradient = Clock(7.0), Engine._gradient

        def slow(engine: Engine, draw: Draw) -> list[MethodResult]:
            clock.now += clock.seconds
            return gradient(engine, draw)

        monkeypatch.setattr("flowops.training.engine.time", clock)
        monkeypatch.setattr(Engine, "_gradient", slow)
        return clock

    def run(self, config: TrainConfig, **given: Any) -> Run:
        return train(config, report=silent, **given)

    def test_it_ends_by_itself_after_its_minutes(self, small: Make, clock: Clock) -> None:
        run = self.run(small(steps=None, minutes=1.0))
        assert run.step == 9  # nine steps of seven seconds are the first beyond sixty
        assert Run.load(run.folder.path).step == 9
        assert (run.config.steps, run.config.minutes) == (0, 1.0)

    @pytest.mark.parametrize(("steps", "minutes", "end"), [(4, 1.0, 4), (400, 0.25, 3), (3, 0.0, 3)])
    def test_the_first_of_two_ends_is_the_end(
        self, small: Make, clock: Clock, steps: int, minutes: float, end: int
    ) -> None:
        assert self.run(small(steps=steps, minutes=minutes)).step == end

    def test_its_last_weights_are_kept_whenever_it_ends(self, small: Make, clock: Clock) -> None:
        run = self.run(small(steps=None, minutes=0.5, checkpoint_every=4))
        assert sorted(int(path.name) for path in run.folder.checkpoints.iterdir()) == [4, 5]

    def test_it_goes_on_for_the_minutes_that_are_left(self, small: Make, clock: Clock) -> None:
        config = small(steps=None, minutes=1.0)
        self.run(config)
        assert self.run(config, resume=True).step == 9  # none are left
        clock.now += 1e6  # the time between two parts of a run does not count
        assert self.run(replace(config, minutes=2.0), resume=True).step == 18

    def test_an_interrupted_one_ends_where_an_uninterrupted_one_does(
        self, small: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole, parts = (small(name, steps=None, minutes=1.0) for name in ("whole", "parts"))
        self.run(whole)

        def stop(report: StepReport) -> None:
            if report.step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Interrupted, match="Interrupted after step 4; go on with"):
            train(parts, report=silent, callbacks=(stop,))
        clock.now += 1e6
        assert self.run(parts, resume=True).step == 9
        assert_same_bits(state_of(whole, 9), state_of(parts, 9))

    def test_its_rate_falls_with_its_time(self, small: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = rates(monkeypatch)
        self.run(small(steps=None, minutes=1.0, optimizer=OptimizerConfig(rate=0.6, schedule="linear")))
        assert seen == [pytest.approx([0.6 * (1 - 7 * k / 60)]) for k in range(9)]

    @pytest.mark.usefixtures("clock")
    def test_the_part_that_is_done_ends_at_one(self, small: Make) -> None:
        found: list[float] = []
        self.run(small(steps=None, minutes=1.0), callbacks=(lambda report: found.append(report.done),))
        assert found == pytest.approx([min(7 * k / 60, 1.0) for k in range(1, 10)])

    def test_a_run_without_any_end_is_refused(self, small: Make) -> None:
        with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1 without `minutes`, got 0"):
            train(small(steps=0), report=silent)

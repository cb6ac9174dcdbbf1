"""Why a run stops."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from flowops.training.loss_module import Outcome
from flowops.training.stopping import FiniteSteps, Interrupted, Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_next_one_is_not_caught(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.noted is None
        os.kill(os.getpid(), number)
        assert interruption.noted == number.name
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_handlers_come_back_without_a_signal() -> None:
    before = [signal.getsignal(number) for number in Interruption.SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in Interruption.SIGNALS] != before
    assert [signal.getsignal(number) for number in Interruption.SIGNALS] == before


def test_the_message_says_how_to_go_on() -> None:
    assert "--resume --out runs/a" in str(Interrupted(3, 10, Path("runs/a"), "SIGINT"))


def test_only_steps_in_a_row_exhaust_the_patience() -> None:
    steps = FiniteSteps(patience=2)
    for finite in (False, True, False):
        steps.note(finite)
    assert (steps.total, steps.exhausted) == (2, False)
    steps.note(False)
    assert (steps.total, steps.exhausted) == (3, True)


def test_the_explanation_names_term_times_and_seed() -> None:
    steps = FiniteSteps(patience=1)
    steps.note(False)
    per_sample = torch.tensor([1.0, float("nan")])
    s, t = torch.tensor([0.1, 0.25]), torch.tensor([0.2, 0.75])
    outcome = Outcome(per_sample.mean(), per_sample, s, t, {}, {"lagrangian": per_sample}, torch.tensor(1234))
    text = steps.explain(7, [outcome])
    for part in ("step 7", "'lagrangian'", "(0.25, 0.75)", "seed=1234", "checkpoint is kept"):
        assert part in text

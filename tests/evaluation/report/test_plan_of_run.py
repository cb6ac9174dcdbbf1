"""What is looked at of a run: as many samples as there are, data of its class, as many states as were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flowops.data import Pairs
from flowops.evaluation.report import plan, plan_of_run
from flowops.evaluation.report.observed import Observed
from flowops.runs import Run
from flowops.training import train
from tests.runs.small import maker, silent

BASE = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on forty pairs of two classes, which lie apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowops.training.record.save_comparison", lambda *_: None)
        patch.setattr("flowops.training.record.POINTS", 4)
        settings = maker(Path(tmp_path_factory.mktemp("runs")))("pairs", "pairs", steps=1)
        return train(settings, dataset=Pairs(BASE, BASE + 100 * LABELS[:, None], LABELS), report=silent)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the sections are given, and what is checked."""
    held: dict[str, Any] = {}

    def figures(make: Any, *_: Any) -> list[Any]:
        held["observed"] = make()
        return []

    def check(_X: Any, x: Any, *_: Any, **told: Any) -> None:
        held.update(x=x, **told)

    monkeypatch.setattr(plan, "_figures", figures)
    monkeypatch.setattr(plan, "check_learned_map", check)
    return held


def test_of_few_pairs_all_are_looked_at_and_data_are_those_of_the_class(run: Run, seen: dict[str, Any]) -> None:
    for label, count in ((None, 40), (1, 20)):
        plan_of_run(run, label=label).checks[0][1]()
        observed: Observed = seen["observed"]
        assert len(observed.x) == len(seen["x"]) == 40
        assert observed.data is not None
        assert len(observed.data) == count
        assert observed.X(0.0, 1.0, observed.x).shape == (40, 2)
        assert float(observed.data.mean()) > (20 if label is None else 90)


def test_as_many_states_are_checked_as_are_asked_for(run: Run, seen: dict[str, Any], monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="`n` must be at most the 40 samples that pairs has"):
        plan_of_run(run, n=41)
    monkeypatch.setattr(plan, "POINTS", 8)
    plan_of_run(run, n=30).checks[0][1]()
    assert (len(seen["x"]), seen["n"], len(seen["observed"].x)) == (30, 30, 8)

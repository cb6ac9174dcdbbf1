"""Evaluations while a run trains: a table by step and average, and the best average kept through interruptions."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flowops.evaluation import Best, Periodic
from flowops.runs import EvaluateConfig, NetworkConfig, OptimizerConfig, Run, RunFolder, TrainConfig
from flowops.training import train
from tests.runs.small import Make, silent
from tests.training.parts import Images
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*more samples:UserWarning")
JUDGED = EvaluateConfig(every=4, samples=80, steps=(1, 2))


def rows(config: TrainConfig) -> list[dict[str, str]]:
    """The table."""
    with (Path(config.out) / "distances.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def best(config: TrainConfig) -> dict[str, Any]:
    """What is kept."""
    held: dict[str, Any] = json.loads((Path(config.out) / "best" / "best.json").read_text(encoding="utf-8"))
    return held


@pytest.fixture
def config(small: Make) -> TrainConfig:
    """Eight steps of digits, judged at the fourth and the eighth."""
    constant = OptimizerConfig(schedule="constant", rate=0.01)
    net = NetworkConfig("mlp", width=8, depth=1)
    return small(dataset="digits", averages=(0.9, 0.5), evaluate=JUDGED, optimizer=constant, network=net)


def test_every_average_is_judged_and_the_best_one_kept(config: TrainConfig) -> None:
    train(config, report=silent)
    found = rows(config)
    assert [(row["step"], row["average"], row["steps"]) for row in found] == [
        (step, name, k) for step in ("4", "8") for name in ("0.9", "0.5") for k in ("1", "2")
    ]
    name = next(column for column in found[0] if "distance" in column)
    assert "pixels" in name
    one = [row for row in found if row["steps"] == "1"]
    least = min(one, key=lambda row: float(row[name]))
    assert (str(best(config)["step"]), best(config)["average"]) == (least["step"], least["average"])
    assert best(config)["distance"] == pytest.approx(float(least[name]), rel=1e-5)
    kept, same = (
        Run.load(config.out, **given)
        for given in ({"best": True}, {"step": int(least["step"]), "average": least["average"]})
    )
    assert kept.step == same.step
    assert torch.equal(kept.sample(4), same.sample(4))


def test_judging_changes_nothing_in_the_training(config: TrainConfig, small: Make) -> None:
    plain = replace(config, evaluate=EvaluateConfig(), out=small("plain").out)
    train(config, report=silent)
    train(plain, report=silent)
    assert_same_bits(state_of(config, 8), state_of(plain, 8))
    assert not (Path(plain.out) / "best").exists()


def test_an_interrupted_run_has_the_table_and_the_best_of_one_that_was_not(
    config: TrainConfig, small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = replace(config, out=small("parts").out)
    train(config, report=silent)

    class Killed(Exception):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:  # behind the checkpoint of step 4 and before its evaluation
        patch.setattr("flowops.evaluation.periodic.Periodic._judge", killed)
        with pytest.raises(Killed):
            train(parts, report=silent)
    assert not (Path(parts.out) / "distances.csv").exists()
    train(parts, resume=True, report=silent)
    assert rows(parts) == rows(config)
    assert best(parts) == best(config)


def test_rows_of_a_branch_that_was_given_up_are_cut(config: TrainConfig) -> None:
    train(config, report=silent)
    folder, before = RunFolder(Path(config.out)), rows(config)
    Periodic(folder, JUDGED, start=4)
    assert rows(config) == [row for row in before if row["step"] == "4"]
    again = Periodic(folder, JUDGED, start=4).best
    assert again is None or again.step <= 4


def test_another_measure_begins_another_table(config: TrainConfig) -> None:
    train(replace(config, steps=4), report=silent)
    path = Path(config.out) / "distances.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("pixels", "others"), encoding="utf-8")
    train(config, resume=True, report=silent)
    assert (Path(config.out) / "distances-1.csv").read_text(encoding="utf-8").startswith("step,average,steps,")
    assert {row["step"] for row in rows(config)} == {"8"}


def test_a_best_by_another_measure_is_no_match() -> None:
    periodic = Periodic.__new__(Periodic)
    periodic.best = Best(4, "0.9", 1.0, "FID", 100)
    assert periodic._beaten(Best(8, "0.9", 2.0, "FID", 100))
    assert not periodic._beaten(Best(8, "0.9", 0.5, "FID", 100))
    assert not periodic._beaten(Best(8, "0.9", 2.0, "FID", 200))
    assert not periodic._beaten(Best(8, "0.9", 2.0, "other", 100))


def test_a_network_of_ones_own_is_not_the_one_that_is_judged(config: TrainConfig) -> None:
    network = Images(64)
    changed = replace(config, labels=False, audit=False)
    run = train(changed, network=network, report=silent)
    assert rows(changed)
    trained = state_of(changed, 8)
    assert all(torch.equal(trained[f"weights.{name}"], value) for name, value in network.state_dict().items())
    assert run.step == 8


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"every": 3},
            "`evaluate.every` must be a multiple of `checkpoint_every` = 4, whose checkpoints are judged, got 3",
        ),
        ({"every": -4}, "`evaluate.every` must be a whole number of at least 0, got -4"),
        ({"steps": ()}, "`evaluate.steps` must be numbers of at least 1"),
        ({"samples": 5}, "`evaluate.samples` must be a whole number of at least 10, got 5"),
    ],
)
def test_settings_that_judge_nothing_are_refused(config: TrainConfig, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(replace(config, evaluate=replace(JUDGED, **changed)), report=silent)


def test_the_best_is_asked_for_alone(config: TrainConfig) -> None:
    train(replace(config, evaluate=EvaluateConfig()), report=silent)
    with pytest.raises(ValueError, match="`step` and `average` must be left out with best=True"):
        Run.load(config.out, best=True, step=4)
    with pytest.raises(FileNotFoundError, match="best must hold a checkpoint"):
        Run.load(config.out, best=True)

"""What a run writes while it goes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops.data import Pairs
from flowops.maps import FlowMap
from flowops.runs import LogConfig, Run
from flowops.training import train
from flowops.training.record import POINTS, SHOWN
from tests.runs.small import Make, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Mapping[str, Tensor]]:
    """What is drawn, by the name of the picture."""
    found: dict[str, Mapping[str, Tensor]] = {}

    def note(path: Path, rows: Mapping[str, Tensor]) -> None:
        found[path.name] = rows

    monkeypatch.setattr("flowops.training.record.save_comparison", note)
    return found


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("pictures")
class TestPictures:
    @pytest.mark.parametrize(("dataset", "n"), [("checkerboard", POINTS), ("digits", SHOWN)])
    def test_they_are_samples_of_the_run(
        self, small: Make, monkeypatch: pytest.MonkeyPatch, dataset: str, n: int
    ) -> None:
        found = drawn(monkeypatch)
        run = train(small(dataset=dataset, averages=(0.9,), seed=5), report=silent)
        (rows,) = found.values()
        assert list(rows) == ["1 step", "2 steps", "4 steps"]
        for k, x in zip((1, 2, 4), rows.values(), strict=True):
            torch.testing.assert_close(x, run.draw(n, steps=k, seed=5).x, rtol=0, atol=0)
        torch.testing.assert_close(rows["2 steps"], Run.load(run.folder.path).sample(n, steps=2, seed=5))
        assert not torch.equal(rows["2 steps"], run.sample(n, steps=2, seed=6))
        assert not torch.equal(rows["2 steps"], Run.load(run.folder.path, average="none").sample(n, steps=2, seed=5))

    @pytest.mark.parametrize(
        ("every", "names"), [(0, ["8.png"]), (3, ["3.png", "6.png", "8.png"]), (4, ["4.png", "8.png"])]
    )
    def test_there_is_one_now_and_then_and_at_the_end(
        self, small: Make, monkeypatch: pytest.MonkeyPatch, every: int, names: list[str]
    ) -> None:
        found = drawn(monkeypatch)
        train(small(log=LogConfig(sample_every=every, tensorboard=False, progress=False)), report=silent)
        assert list(found) == names
        assert not every or not torch.equal(*(rows["1 step"] for rows in list(found.values())[:2]))

    def test_of_few_pairs_there_are_as_many_points(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        found = drawn(monkeypatch)
        x0 = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        run = train(small(steps=1), dataset=Pairs(x0, x0 + 1), report=silent)
        (rows,) = found.values()
        torch.testing.assert_close(rows["1 step"], run.sample(50))

    def test_one_that_cannot_be_drawn_is_no_reason_to_lose_a_run(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("flowops.training.record.save_comparison", fail)
        lines: list[str] = []
        log = LogConfig(tensorboard=False)
        assert train(small(log=log), report=lines.append).step == 8
        assert "There is no picture of step 8: no space left" in lines

    @pytest.mark.parametrize(
        "error", [RuntimeError("out of memory"), ValueError("not finite"), ImportError("no drawing")]
    )
    def test_nor_is_a_sampler_that_fails(self, small: Make, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(Run, "sample", fail)
        lines: list[str] = []
        run = train(small(log=LogConfig(sample_every=3, tensorboard=False)), report=lines.append)
        assert run.step == 8
        assert [line for line in lines if "picture" in line] == [f"There is no picture of step 3: {error}"]  # once

    def test_samples_that_are_not_finite_are_none_either(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        true = Run.sample
        monkeypatch.setattr(Run, "sample", lambda *a, **k: torch.nan * true(*a, **k))
        lines: list[str] = []
        assert train(small(dataset="digits"), report=lines.append).step == 8
        assert [line.partition(":")[0] for line in lines] == ["There is no picture of step 8"]

    def test_samples_that_are_neither_images_nor_points_make_none(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = drawn(monkeypatch)
        x0 = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
        train(small(steps=1), dataset=Pairs(x0, x0 + 1), report=silent)
        assert not found


class TestTangents:
    """A tangent that cannot be measured is no reason to lose a run."""

    @pytest.mark.parametrize("wanted", ["tangent", "event file"])
    def test_a_fault_is_told_once(self, small: Make, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("no forward mode")

        place = "record.tangent_ratio" if wanted == "tangent" else "loggers.TensorBoardLogger.finish"
        monkeypatch.setattr(f"flowops.training.{place}", fail)
        lines: list[str] = []
        run = train(small(log=LogConfig(telemetry_every=2, tensorboard=wanted != "tangent")), report=lines.append)
        assert Run.load(run.folder.path).step == 8
        step = 2 if wanted == "tangent" else 8
        assert [line for line in lines if "no forward" in line] == [
            f"There is no {wanted} of step {step}: no forward mode"
        ]
        assert {row["step"] for row in table(run.folder.telemetry)} == {"2", "4", "6", "8"}

    def test_it_is_that_of_the_guided_map(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        found: list[list[str]] = []

        def note(X: FlowMap, *times: Tensor) -> Tensor:
            found.append(sorted({name for operator in X.modules() for name in getattr(operator, "_conditions", ())}))
            return torch.ones_like(times[0])

        monkeypatch.setattr("flowops.training.record.tangent_ratio", note)
        train(small(dataset="digits", options=("guidance=1,4",)), report=silent)
        assert found == [["guidance", "label"]] * 2


class TestTables:
    def test_a_full_disk_is_told_once_and_loses_rows_only(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError("no space left")

        lines: list[str] = []
        monkeypatch.setattr("flowops.runs.tables.append", full)
        monkeypatch.setattr("flowops.training.telemetry.append", full)
        run = train(small(log=LogConfig(telemetry_every=2, tensorboard=False)), report=lines.append)
        assert (run.step, Run.load(run.folder.path).step) == (8, 8)
        assert [line for line in lines if "no space" in line] == [
            "There is no row of metrics of step 1: no space left",
            "There is no table of telemetry of step 2: no space left",
        ]
        assert table(run.folder.metrics) == []

    @pytest.mark.parametrize(("every", "steps"), [(0, list(range(1, 9))), (3, [3, 6, 8]), (8, [8])])
    def test_rows_of_the_metrics_come_now_and_then_and_at_the_end(
        self, small: Make, every: int, steps: list[int]
    ) -> None:
        run = train(small(log=LogConfig(every=every, tensorboard=False, progress=False)), report=silent)
        assert [int(row["step"]) for row in table(run.folder.metrics)] == steps

    @pytest.mark.parametrize(("every", "steps"), [(3, {3, 6, 8}), (4, {4, 8}), (0, None)])
    def test_so_do_the_cells_of_the_telemetry(self, small: Make, every: int, steps: set[int] | None) -> None:
        run = train(small(log=LogConfig(telemetry_every=every, tensorboard=False, progress=False)), report=silent)
        if steps is None:
            assert not run.folder.telemetry.exists()
            return
        rows = table(run.folder.telemetry)
        assert {int(row["step"]) for row in rows} == steps
        counted = [sum(int(row["count"]) for row in rows if int(row["step"]) == step) for step in sorted(steps)]
        between = [b - a for a, b in zip([0, *sorted(steps)][:-1], sorted(steps), strict=True)]
        assert counted == [16 * k for k in between]  # every sample of every step since the last table

    def test_progress_is_told_where_it_is_wanted(self, small: Make) -> None:
        lines: list[str] = []
        train(small(log=LogConfig(tensorboard=False)), report=lines.append)
        assert any("lsd: step 8 of 8 (100%)  loss " in line for line in lines)
        lines.clear()
        train(small("silent"), report=lines.append)
        assert not any("step 8" in line for line in lines)

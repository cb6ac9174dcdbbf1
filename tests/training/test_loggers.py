"""Where a run tells what it measures: each logger, what is told, and what a fault of one costs."""

from __future__ import annotations

import csv
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowops.runs import HardwareConfig, LogConfig, Run, RunFolder
from flowops.training import Interrupted, Logger, RunStart, StepReport, train
from flowops.training.loggers import CSVLogger, TensorBoardLogger
from flowops.training.loggers.logger import End, Picture
from flowops.training.loggers.tracker import Sent
from tests.runs.small import Make, silent

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what tensorboard, wandb and trackio import
]
COLUMNS = [
    "step", "loss", "gradient_norm", "rate", "samples_per_second", "waiting_share", "skipped", "flop_per_second",
    "utilization",
]  # fmt: skip


class Told(Logger):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.starts, self.rows, self.shapes = list[RunStart](), dict[int, dict[str, float]](), dict[int, Any]()
        self.ends: list[End] = []

    def begin(self, start: RunStart) -> None:
        self.starts.append(start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.rows[step] = dict(values)

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> None:
        self.shapes[step] = {name: picture.shape for name, picture in pictures.items()}

    def finish(self, why: End) -> None:
        self.ends.append(why)


def quiet(*to: str, **more: Any) -> LogConfig:
    """Settings of a log that goes to these and shows nothing."""
    return LogConfig(to=to, telemetry_every=0, progress=False, **more)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def stop_at(step: int) -> Any:
    """A callback that ends a run there, as a fault would."""

    def stop(report: StepReport) -> None:
        if report.step == step:
            raise RuntimeError("stopped")

    return stop


def start_of(config: Any, step: int = 0) -> RunStart:
    """What a logger of a run is told when it begins."""
    return RunStart(RunFolder(Path(config.out)), config, {"seed": 0}, ("loss",), step)


class TestAnOwnOne:
    def test_it_is_told_what_the_table_holds_and_how_the_run_ended(self, small: Make) -> None:
        told = Told()
        run = train(small(log=quiet("csv")), report=silent, callbacks=told)
        (start,) = told.starts
        assert (start.step, start.config, start.folder) == (0, run.config, run.folder)
        assert (start.facts["seed"], told.ends) == (0, ["finished"])
        rows = table(run.folder.metrics)
        assert list(rows[0]) == [*COLUMNS, "loss/diagonal", "loss/lagrangian"]
        assert [int(row["step"]) for row in rows] == list(told.rows) == list(range(1, 9))
        for row in rows:
            held = {name: float(cell) for name, cell in row.items() if cell and name != "step"}
            assert held == told.rows[int(row["step"])]

    def test_the_terms_add_up_to_the_loss(self, small: Make) -> None:
        told = Told()
        train(small(log=quiet()), report=silent, callbacks=[told])
        for row in told.rows.values():
            assert row["loss/diagonal"] + row["loss/lagrangian"] == pytest.approx(row["loss"], rel=1e-5)
            assert row["loss/lagrangian"] != row["loss"]

    def test_so_do_those_of_the_parts_of_a_batch(self, small: Make) -> None:
        whole, parts = Told(), Told()
        log = quiet()
        train(small("a", log=log, steps=1), report=silent, callbacks=whole)
        train(small("b", log=log, steps=1, hardware=HardwareConfig(accumulate=4)), report=silent, callbacks=parts)
        for name in ("loss", "loss/diagonal", "loss/lagrangian"):
            assert parts.rows[1][name] == pytest.approx(whole.rows[1][name], rel=1e-4)

    @pytest.mark.usefixtures("pictures")
    def test_it_is_shown_the_pictures(self, small: Make) -> None:
        told = Told()
        train(small(dataset="digits", steps=2, log=quiet()), report=silent, callbacks=told)
        ((name, shape),) = told.shapes[2].items()
        assert name == "samples"
        assert len(shape) == 3
        assert shape[2] == 3

    def test_it_is_told_of_a_run_that_fails_or_is_interrupted(self, small: Make) -> None:
        told = Told()
        with pytest.raises(RuntimeError, match="stopped"):
            train(small("a", log=quiet()), report=silent, callbacks=[told, stop_at(3)])

        def interrupt(report: StepReport) -> None:
            if report.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Interrupted):
            train(small("b", log=quiet()), report=silent, callbacks=[told, interrupt])
        assert told.ends == ["failed", "interrupted"]

    def test_one_that_does_not_exist_is_refused(self, small: Make) -> None:
        with pytest.raises(ValueError, match=r"`log.to` must be one of csv, tensorboard, wandb, trackio or"):
            train(small(log=LogConfig(to=("csb",))))
        with pytest.raises(ValueError, match="csv twice"):
            train(small(log=LogConfig(to=("csv", "csv"))))
        with pytest.raises(TypeError, match="functions of a StepReport, or Loggers, got int"):
            train(small(), callbacks=[3])  # type: ignore[list-item]
        assert not Path(small().out).exists()


class TestFaults:
    @pytest.mark.parametrize("method", ["begin", "scalars", "finish"])
    def test_one_costs_a_line_and_never_the_run(
        self, small: Make, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError("no network")

        told, lines = Told(), list[str]()
        monkeypatch.setattr(TensorBoardLogger, method, fail)
        run = train(small(log=quiet("csv", "tensorboard")), report=lines.append, callbacks=told)
        assert (run.step, len(told.rows), len(table(run.folder.metrics))) == (8, 8, 8)
        step = {"begin": 0, "scalars": 1, "finish": 8}[method]
        assert [line for line in lines if "network" in line] == [f"There is no event file of step {step}: no network"]

    @pytest.mark.parametrize("name", ["wandb", "trackio"])
    def test_a_package_that_is_missing_is_named_before_the_first_step(
        self, small: Make, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        config = small(log=quiet("csv", "tensorboard", name))
        with pytest.raises(ImportError, match=r"flowops\[log\]"):
            train(config, report=silent)
        left = [path.name for path in Path(config.out).iterdir()] if Path(config.out).exists() else []
        assert left == []


class TestTables:
    def test_a_table_of_before_there_were_terms_goes_on_in_wider_rows(self, small: Make) -> None:
        log = quiet("csv")
        with pytest.raises(RuntimeError):
            train(small(log=log), report=silent, callbacks=stop_at(6))
        path = Path(small().out) / "metrics.csv"
        rows = [line.split(",")[:7] for line in path.read_text().splitlines()]
        path.write_text("".join(",".join(row) + "\n" for row in rows))  # as it was written before
        train(small(log=log), resume=True, report=silent)
        after = table(path)
        assert list(after[0]) == [*COLUMNS, "loss/diagonal", "loss/lagrangian"]
        assert [int(row["step"]) for row in after] == list(range(1, 9))
        assert [list(row.values())[:7] for row in after[:4]] == rows[1:5]
        assert [row["loss/diagonal"] != "" for row in after] == [False] * 4 + [True] * 4

    def test_another_table_is_refused_as_ever(self, small: Make) -> None:
        config = small()
        path = Path(config.out) / "metrics.csv"
        path.parent.mkdir()
        path.write_text("step,rate,loss\n1,2,3\n")
        with pytest.raises(ValueError, match="must have the columns step,loss"):
            CSVLogger().begin(start_of(config, 1))
        assert path.read_text() == "step,rate,loss\n1,2,3\n"

    def test_a_run_that_goes_on_has_the_terms_of_one_that_was_not_interrupted(self, small: Make) -> None:
        log, read = quiet("csv"), list[list[str]]()
        train(small("whole", log=log), report=silent)
        with pytest.raises(RuntimeError):
            train(small("parts", log=log), report=silent, callbacks=stop_at(6))
        train(small("parts", log=log), resume=True, report=silent)
        for name in ("whole", "parts"):
            rows = table(Path(small(name).out) / "metrics.csv")
            read.append([row["loss/diagonal"] + row["loss/lagrangian"] for row in rows])
        assert read[0] == read[1]


class TestTensorBoard:
    def test_it_holds_the_scalars_and_a_resumed_run_hides_later_ones(self, small: Make) -> None:
        event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        config = small()
        for before, steps, value in ((0, range(1, 6), 1.0), (3, range(4, 6), 2.0)):
            log = TensorBoardLogger()
            log.begin(start_of(config, before))
            assert log.active
            for step in steps:
                log.scalars(step, {"loss": value})
            log.finish("finished")
        events = event_accumulator.EventAccumulator(str(Path(config.out) / "logs"))
        events.Reload()
        found = [(event.step, event.value) for event in events.Scalars("loss")]
        assert sorted(found) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0)]

    def test_without_tensorboard_nothing_happens(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        log = TensorBoardLogger()
        log.begin(start_of(small()))
        assert not log.active
        log.scalars(1, {"loss": 1.0})
        log.finish("finished")
        assert not Path(small().out).exists()

    def test_the_flag_of_before_takes_it_out(self, small: Make) -> None:
        run = train(small(log=quiet("csv", "tensorboard", tensorboard=False)), report=silent)
        assert not run.folder.logs.exists()
        assert run.folder.metrics.exists()


def resumed_by(small: Make, name: str) -> Run:
    """A run that was ended at step 6, four steps of which were saved, and went on."""
    log = quiet(name, project="tested")
    with pytest.raises(RuntimeError, match="stopped"):
        train(small(log=log), report=silent, callbacks=stop_at(6))
    return train(small(log=log), resume=True, report=silent)


class TestWandb:
    """Its files on the disk are read as `wandb sync` reads them: records of one kind among which rows are."""

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("wandb")
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.slow
    def test_a_run_that_goes_on_has_one_id_and_every_row_once(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import wandb

        made, rows = list[Any](), list[tuple[int, float]]()
        init, log = wandb.init, wandb.sdk.wandb_run.Run.log

        def note(self: Any, values: dict[str, float], step: int) -> None:
            rows.append((step, values["loss"]))
            log(self, values, step=step)

        def begin(**settings: Any) -> Any:
            made.append(init(**settings))
            return made[-1]

        monkeypatch.setattr(wandb, "init", begin)
        monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", note)
        run = resumed_by(small, "wandb")
        assert [step for step, _ in rows] == list(range(1, 9))
        assert len({one.id for one in made}) == 1
        assert all(one.offline for one in made)
        assert {one.project for one in made} == {"tested"}
        assert made[0].config["dataset"] == "checkerboard"
        folders = list((run.folder.logs / "wandb").glob(f"offline-run-*-{made[0].id}"))
        assert folders
        assert all(list(folder.glob("*.wandb")) for folder in folders)


class TestTrackio:
    def test_a_run_that_goes_on_has_one_name_and_every_row_once(
        self, small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("trackio")
        from trackio import sqlite_storage, utils

        for module in (utils, sqlite_storage):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
        resumed_by(small, "trackio")
        (name,) = sqlite_storage.SQLiteStorage.get_runs("tested")
        assert name.startswith("run-")
        found = sqlite_storage.SQLiteStorage.get_logs("tested", name)
        assert [row["step"] for row in found if "loss" in row] == list(range(1, 9))
        config = sqlite_storage.SQLiteStorage.get_run_config("tested", name)
        assert config is not None
        assert config["dataset"] == "checkerboard"


class TestSent:
    def test_what_was_told_is_known_after_a_kill_and_forgotten_by_a_new_run(self, tmp_path: Path) -> None:
        path = tmp_path / "logs" / "tracker.json"
        first = Sent(path, resumed=False)
        first.note(5)
        again = Sent(path, resumed=True)
        assert again.identity == first.identity
        assert [again.new(step) for step in (4, 5, 6)] == [False, False, True]
        new = Sent(path, resumed=False)
        assert new.identity != first.identity
        assert new.new(1)

    def test_a_file_that_is_damaged_is_begun_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "tracker.json"
        path.write_text("{")
        assert Sent(path, resumed=True).new(1)

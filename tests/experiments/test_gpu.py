"""The battery of a GPU: its files, what it does when something fails or ends, and its stages on a CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.gpu.__main__ import main
from experiments.gpu.battery import STAGES, perform
from experiments.gpu.ledger import Ledger
from experiments.gpu.recipe import Setting
from experiments.gpu.stages import Stage, sampling
from tests.programs import ROOT

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def held(path: Path) -> dict[str, Any]:
    """A JSON file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


class TestLedger:
    def make(self, folder: Path, **changed: Any) -> Ledger:
        return Ledger(folder / "a.json", CPU, **{"tiny": True, **changed})

    def test_it_holds_what_was_measured_on_what(self, tmp_path: Path) -> None:
        ledger = self.make(tmp_path)
        ledger.begin()
        ledger.attempt("x")
        ledger.keep("x", {"ms": 1.0})
        ledger.fail("y", "OutOfMemoryError: too large")
        content = held(tmp_path / "a.json")
        assert content["results"] == {"x": {"ms": 1.0, "call": 1}}
        assert content["failed"] == {"y": "OutOfMemoryError: too large"}
        assert (content["stage"], content["seed"], content["tiny"], content["finished"]) == ("a", 0, True, False)
        (call,) = content["calls"]
        assert call["device"] == "cpu"
        assert call["versions"]["torch"] == torch.__version__
        assert {"command", "flowops_commit", "date"} <= set(call)

    def test_what_is_there_is_not_wanted_again(self, tmp_path: Path) -> None:
        before = self.make(tmp_path)
        before.begin()
        before.keep("x", {})
        before.fail("y", "why")
        ledger = self.make(tmp_path)
        assert [ledger.wants(name) for name in "xyz"] == [False, False, True]
        assert self.make(tmp_path, again=True).wants("x")

    def test_what_ends_its_process_twice_is_given_up(self, tmp_path: Path) -> None:
        for _ in range(2):
            ledger = self.make(tmp_path)
            assert ledger.wants("x")
            ledger.attempt("x")  # and the process ends
        ledger = self.make(tmp_path)
        assert not ledger.wants("x")
        assert held(tmp_path / "a.json")["failed"] == {
            "x": "It was begun 2 times and ended its process, or the time did."
        }

    def test_tiny_numbers_are_not_mixed_with_others(self, tmp_path: Path) -> None:
        self.make(tmp_path).begin()
        with pytest.raises(ValueError, match=r"must hold measurements of the same kind, got tiny ones; pass --again"):
            self.make(tmp_path, tiny=False)


class TestPerform:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
        """Runs a stage with these measures."""

        def perform_(measures: dict[str, Callable[[], Any]], *, minutes: float = 1.0, **changed: Any) -> bool:
            keeps = changed.pop("keeps", None)
            monkeypatch.setitem(STAGES, "toy", Stage("", lambda *_: measures, keeps))
            self.said: list[str] = []
            return perform("toy", Setting(CPU, tiny=True), tmp_path, minutes, say=self.said.append,
                           **{"again": False, **changed})  # fmt: skip

        return perform_

    def test_a_measurement_that_fails_is_noted_and_the_next_one_made(
        self, run: Callable[..., bool], tmp_path: Path
    ) -> None:
        assert run({"bad": lambda: 1 / 0, "good": lambda: {"ms": 2.0}})
        content = held(tmp_path / "toy.json")
        assert content["failed"] == {"bad": "ZeroDivisionError: division by zero"}
        assert content["results"]["good"]["ms"] == 2.0
        assert content["finished"]
        assert content["attempts"] == {}

    def test_a_finished_stage_is_skipped_unless_again(self, run: Callable[..., bool], tmp_path: Path) -> None:
        assert run({"x": lambda: {"ms": 1.0}})
        assert run({"x": lambda: {"ms": 2.0}})
        assert self.said == ["toy: finished before; pass --again to measure anew"]
        assert held(tmp_path / "toy.json")["results"]["x"]["ms"] == 1.0
        assert run({"x": lambda: {"ms": 2.0}}, again=True)
        assert held(tmp_path / "toy.json")["results"]["x"]["ms"] == 2.0

    def test_again_forgets_what_a_stage_went_on_from(self, run: Callable[..., bool], tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        measures: dict[str, Callable[[], Any]] = {"x": lambda: {"held": (tmp_path / "run").exists()}}
        for again, there in ((False, True), (True, False), (True, False)):
            assert run(measures, keeps=lambda _: tmp_path / "run", again=again)
            assert held(tmp_path / "toy.json")["results"]["x"]["held"] == there

    def test_a_stage_that_failed_as_a_whole_is_made_once_more(self, run: Callable[..., bool], tmp_path: Path) -> None:
        bad: dict[str, Callable[[], Any]] = {"x": lambda: 1 / 0, "y": lambda: 1 / 0}
        for _ in range(2):
            with pytest.raises(ValueError, match=r"toy: all of it failed, as .*toy.json says; mend the cause and call"):
                run(bad)
            content = held(tmp_path / "toy.json")
            assert (set(content["failed"]), content["finished"]) == ({"x", "y"}, False)
        assert run({**bad, "x": lambda: {"ms": 1.0}})
        content = held(tmp_path / "toy.json")
        assert (set(content["results"]), set(content["failed"]), content["finished"]) == ({"x"}, {"y"}, True)
        assert run(bad)
        assert self.said == ["toy: finished before; pass --again to measure anew"]

    def test_after_its_minutes_nothing_more_is_begun(self, run: Callable[..., bool], tmp_path: Path) -> None:
        assert not run({"x": lambda: {"ms": 1.0}}, minutes=0.0)
        assert not held(tmp_path / "toy.json")["finished"]
        assert (tmp_path / "README.md").is_file()
        assert run({"x": lambda: {"ms": 1.0}})

    def test_what_took_too_long_is_begun_once_more(self, run: Callable[..., bool], tmp_path: Path) -> None:
        def long() -> None:
            raise TimeoutError("too long")

        measures: dict[str, Callable[[], Any]] = {"x": long, "y": lambda: {"ms": 1.0}}
        assert not run(measures)
        assert set(held(tmp_path / "toy.json")["results"]) == {"y"}
        assert not run(measures)
        assert run(measures)
        assert "begun 2 times" in held(tmp_path / "toy.json")["failed"]["x"]

    def test_what_stops_it_leaves_what_was_measured(self, run: Callable[..., bool], tmp_path: Path) -> None:
        def stop() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run({"x": lambda: {"ms": 1.0}, "y": stop})
        assert set(held(tmp_path / "toy.json")["results"]) == {"x"}
        assert run({"x": lambda: {"ms": 3.0}, "y": lambda: {"ms": 2.0}})
        content = held(tmp_path / "toy.json")
        assert {name: r["ms"] for name, r in content["results"].items()} == {"x": 1.0, "y": 2.0}
        assert {name: r["call"] for name, r in content["results"].items()} == {"x": 1, "y": 2}

    def test_a_stage_without_end_goes_on_until_it_is_done(self, run: Callable[..., bool], tmp_path: Path) -> None:
        counts = iter(range(1, 4))

        def further() -> dict[str, Any]:
            count = next(counts)
            return {"step": count, "done": count == 3}

        measures: dict[str, Callable[[], Any]] = {"first": lambda: {"step": 0}, "further": further}
        assert [run(measures) for _ in range(3)] == [False, False, True]
        assert held(tmp_path / "toy.json")["results"]["further"]["step"] == 3
        assert len(held(tmp_path / "toy.json")["calls"]) == 3

    def test_what_goes_on_and_ends_its_process_twice_is_given_up(
        self, run: Callable[..., bool], tmp_path: Path
    ) -> None:
        def stop() -> None:
            raise KeyboardInterrupt

        assert not run({"further": lambda: {"step": 1, "done": False}})
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run({"further": stop})
        assert run({"further": lambda: {"step": 2, "done": False}})
        content = held(tmp_path / "toy.json")
        assert "begun 2 times" in content["failed"]["further"]
        assert content["results"]["further"]["step"] == 1

    def test_what_goes_on_and_fails_is_over(self, run: Callable[..., bool], tmp_path: Path) -> None:
        assert not run({"further": lambda: {"step": 1, "done": False}})
        assert run({"further": lambda: 1 / 0})
        assert held(tmp_path / "toy.json")["finished"]


class TestCommand:
    def test_without_a_gpu_it_says_what_to_do(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert main(["--stage", "steps"]) == 1
        assert "must have a CUDA device, and there is none; pass --tiny" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--dataset", "digit"], "got 'digit'; did you mean 'digits'?"),
            (["--dataset", "folder", "--data", "/not/there"], "got /not/there, where there is nothing"),
            (["--dataset", "digits", "--data", "/x"], "`path` must be None for digits"),
            (["--data", "/x"], "`dataset` must be one of "),
        ],
    )
    @pytest.mark.parametrize("stages", [["steps"], ["steps", "ceiling"]])
    def test_data_that_cannot_be_opened_are_refused_before_anything_is_measured(
        self, words: list[str], sentence: str, stages: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--tiny", "--runs", str(tmp_path), "--stage", *stages, *words]) == 1
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("codes", "code"), [([0, 0], 0), ([1, 0], 1), ([0, -9], 3), ([-11, 1], 3), ([-15, -15], 3)]
    )
    def test_a_stage_whose_process_was_killed_wants_another_call(
        self, codes: list[int], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = iter(codes)
        monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, next(left)))
        assert main(["--tiny", "--runs", str(tmp_path), "--stage", "steps", "ceiling"]) == code
        assert not list(left)

    def test_the_list_says_how_far_a_stage_is(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        ledger = Ledger(tmp_path / "steps.json", CPU, tiny=True)
        ledger.begin()
        ledger.keep("fm", {})
        assert main(["--list", "--folder", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(STAGES)
        assert lines[1].endswith(": 1 measured, not finished")
        assert lines[2].endswith(": not begun")

    def test_numbers_of_the_other_kind_are_refused_in_a_sentence(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Ledger(tmp_path / "ceiling.json", CPU, tiny=False).begin()
        assert main(["--tiny", "--stage", "ceiling", "--folder", str(tmp_path), "--runs", str(tmp_path)]) == 1
        assert "must hold measurements of the same kind" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["tests", "steps", "ceiling", "profile", "sampling", "training"])
def test_a_stage_runs_on_a_cpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "sampling":  # what compiles wants a program without the checks of shapes
        plain = sampling
        some = Stage("", lambda *a: {key: each for key, each in plain(*a).items() if "compiled" not in key})
        monkeypatch.setitem(STAGES, name, some)
    assert main(["--tiny", "--stage", name, "--runs", str(tmp_path)]) == 0
    content = held(tmp_path / "gpu_tiny" / f"{name}.json")
    assert content["finished"]
    assert not content["failed"]
    assert content["results"]
    assert "# Figures of a GPU" in (tmp_path / "gpu_tiny" / "README.md").read_text()
    if name == "training":
        assert content["results"]["first steps"]["step"] == 6
        assert content["results"]["further"]["step"] == 12
        assert (tmp_path / "gpu_tiny_made" / "run.json").is_file()
        assert main(["--tiny", "--stage", name, "--runs", str(tmp_path), "--again"]) == 0
        assert held(tmp_path / "gpu_tiny" / f"{name}.json")["results"]["first steps"]["step"] == 6
    if name == "tests":
        assert content["results"]["data, times"]["passed"] > 0


@pytest.mark.slow
def test_a_battery_that_is_killed_keeps_its_stages_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "experiments.gpu", "--tiny", "--runs", str(tmp_path)]
    command += ["--stage", "ceiling", "steps"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "gpu_tiny"
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, start_new_session=True)
    end = time.monotonic() + 900
    while not (folder / "steps.json").is_file() or not held(folder / "steps.json")["results"]:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    ceiling, steps = held(folder / "ceiling.json"), held(folder / "steps.json")
    assert ceiling["finished"]
    assert not steps["finished"]
    done = dict(steps["results"])
    assert 0 < len(done) < 5
    assert subprocess.run(command, env=environment, cwd=tmp_path).returncode == 0
    assert held(folder / "ceiling.json") == ceiling
    after = held(folder / "steps.json")
    assert after["finished"]
    assert {name: after["results"][name] for name in done} == done
    assert {result["call"] for result in after["results"].values()} == {1, 2}

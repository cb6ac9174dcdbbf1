"""A comparison from the first entry to the last: what it writes, what it refuses, how it goes on."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flowops.comparison import Comparison, Outcome
from flowops.methods import Term, row
from flowops.methods.compared import tangent
from flowops.methods.point import CONDITIONAL, Difference, Differences, TermPoint
from flowops.runs import Run
from flowops.times import Diagonal, on_diagonal
from flowops.training import NotFinite
from tests.comparison.conftest import SHORT, SMALL, Compare

ROOT = Path(__file__).parents[2]


def exploding(k: TermPoint) -> Differences:
    """A loss that is finite twice: when it is tried, and in the first step."""
    left, right = next(iter(tangent(k).values()))[:2]
    exploding.calls += 1  # type: ignore[attr-defined]
    return {"diagonal": Difference(left * (math.inf if exploding.calls > 2 else 1.0), right)}  # type: ignore[attr-defined]


exploding.calls = 0  # type: ignore[attr-defined]
diverging = row(
    "diverging",
    Term(residual=exploding, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal),
    source="none",
    summary="It diverges.",
)


@pytest.mark.usefixtures("pictures")
def test_every_row_is_measured_alike(small: Compare, tmp_path: Path) -> None:
    found = small("lsd,lmd,ct", seeds=(0, 1))
    assert [(r.label, len(r.measured)) for r in found.rows] == [("lsd", 2), ("fm", 2), ("lmd", 2), ("ct", 2)]
    lsd, fm, lmd, ct = found.rows
    assert {outcome.images for outcome in found.outcomes} == {64}
    assert lmd.outcomes[0].before == 64
    assert lsd.outcomes[0].before == 0
    assert fm.outcomes[0].role == "teacher"
    assert (lsd.kind, fm.kind, ct.kind) == ("map", "field", "endpoint")
    assert [each.steps for each in lsd.outcomes[0].measured] == [1, 2, None]
    assert [each.steps for each in ct.outcomes[0].measured] == [1, 2]  # its diagonal is not trained
    assert [each.calls for each in lsd.outcomes[0].measured][:2] == [1, 2]
    assert math.isnan(fm.outcomes[0].semigroup)
    assert lsd.outcomes[0].semigroup > 0
    assert lsd.outcomes[0].certificate > 0
    values = [outcome.value(1, 0) for outcome in lsd.outcomes]
    assert lsd.spread(1).mean == pytest.approx(sum(values) / 2)
    assert lsd.spread(1).deviation == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))
    run = Run.load(tmp_path / "compare" / "runs" / lsd.outcomes[1].name)
    assert (run.config.method, run.config.seed, run.step) == ("lsd", 1, 4)


@pytest.mark.usefixtures("pictures")
def test_what_is_written_is_what_was_found(small: Compare, tmp_path: Path) -> None:
    found = small("lsd")
    folder = tmp_path / "compare"
    again = Comparison.load(folder)
    assert again.markdown() == found.markdown() == (folder / "compare.md").read_text().rstrip("\n")
    assert again.plain() == found.plain()
    json.loads((folder / "compare.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (folder / "compare.png").stat().st_size > 1000
    for part in ("64 images seen by each entry", "seed 0", "`lsd`", "sliced W2", "semigroup residual"):
        assert part in found.markdown()


def test_what_is_finished_is_not_run_again(small: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small("lsd")
    with monkeypatch.context() as patched:
        patched.setattr("flowops.comparison.pool.carried_out", lambda *_: pytest.fail("run again"))
        assert small("lsd").plain()["outcomes"] == first.plain()["outcomes"]
    more = small("lsd,fm", seeds=(0, 1))
    assert len(more.outcomes) == 4
    assert next(o for o in more.outcomes if o.name == first.outcomes[0].name) == first.outcomes[0]


@pytest.mark.usefixtures("pictures")
def test_a_row_that_diverges_is_an_entry(small: Compare) -> None:
    found = small(f"{__name__}:diverging", "fm", config=replace(SMALL, patience=2))
    bad, good = found.outcomes
    assert (bad.verdict, good.verdict) == ("not finite", "measured")
    assert "not finite" in found.markdown()
    assert good.name in {row.outcomes[0].name for row in found.rows if row.measured}
    assert small(f"{__name__}:diverging", "fm", config=replace(SMALL, patience=2)).plain()["outcomes"] == [
        outcome.plain() for outcome in found.outcomes
    ]


def test_a_teacher_that_diverges_leaves_its_students_without(small: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> Run:
        raise NotFinite("Ten steps were not finite.")

    monkeypatch.setattr("flowops.comparison.work.train", stopped)
    found = small("lmd")
    assert [outcome.verdict for outcome in found.outcomes] == ["not finite", "no teacher"]


def test_what_fails_is_told_and_tried_again(small: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Run:
        raise OSError("The disk is full; make room.")

    with monkeypatch.context() as patched:
        patched.setattr("flowops.comparison.work.train", failing)
        found = small("lmd", "ct")
        assert [outcome.verdict for outcome in found.outcomes] == ["failed"] * 3
        assert "The disk is full" in found.markdown()
    assert [outcome.verdict for outcome in small("lmd", "ct").outcomes] == ["measured"] * 3


def test_an_entry_that_cannot_run_ends_it_before_the_first(small: Compare, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`lsd etaa=1` on linear with independent pairs must be able to run, .*etaa"):
        small("fm", "lsd", settings=("lsd:etaa=1",))
    with pytest.raises(ValueError, match="on lineal with independent pairs .* nothing was run"):
        small("fm", schedules=("linear", "lineal"))
    with pytest.raises(ValueError, match="with sinkorn pairs"):
        small("fm", couplings=("sinkorn",))
    with pytest.raises(ValueError, match="`methods` must be rows that one run makes, and pd is not"):
        small("pd")
    assert not (tmp_path / "compare").exists()


def test_of_all_rows_those_that_cannot_run_are_named(small: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowops.comparison.axes.every", lambda _: ["fm", "pd", "tcm"])
    found = small("all", config=replace(SMALL, batch=16))
    assert [name for name, _ in found.excluded] == ["pd"]
    assert "Not compared:" in found.markdown()
    assert [row.label for row in found.rows] == ["fm", "tcm"]  # the stage before it is no row


def test_the_folder_of_another_comparison_is_refused(small: Compare, tmp_path: Path) -> None:
    small("fm")
    with pytest.raises(ValueError, match="`out` must be the folder of this comparison, .* budget is"):
        small("fm", samples_seen=160)
    with pytest.raises(ValueError, match="network is .* width=9 average-velocity. here"):
        small("fm", config=replace(SMALL, network=replace(SMALL.network, options=("width=9",))))
    with pytest.raises(ValueError, match="n is 40 there and 50 here"):
        small("fm", protocol=replace(SHORT, n=50))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="holds something else"):
        small("fm", out=other)
    with pytest.raises(OSError, match="`out` must be a folder that can be written"):
        small("fm", out=other / "thesis.txt" / "compare")


def test_a_damaged_outcome_is_measured_again(small: Compare, tmp_path: Path) -> None:
    first = small("fm")
    path = tmp_path / "compare" / "runs" / first.outcomes[0].name / "outcome.json"
    path.write_text(path.read_text()[:50])
    assert Outcome.load(path) is None
    again = small("fm").outcomes[0]
    assert again.value(1, 0) == first.outcomes[0].value(1, 0)
    assert math.isnan(again.memory)  # it was not trained here


def test_schedules_and_couplings_are_columns_of_the_name(small: Compare) -> None:
    found = small("fm", schedules=("linear", "1-t;t"), couplings=("independent", "optimal-transport"))
    assert [row.label for row in found.rows] == [
        "fm, linear, independent",
        "fm, linear, optimal-transport",
        "fm, 1-t;t, independent",
        "fm, 1-t;t, optimal-transport",
    ]
    first, _, same, _ = found.rows
    assert first.spread(1).mean == pytest.approx(same.spread(1).mean, rel=1e-4)  # linear by its formulas


COMMAND = """
import sys
from flowops.cli import main
sys.exit(main(sys.argv[1:]))
"""


def command(tmp_path: Path, *words: str) -> list[str]:
    (tmp_path / "command.py").write_text(COMMAND)
    flags = ["checkerboard", "--methods", "fm", "--seeds", "0", "--steps", "1", "--n", "20", "--batch", "16"]
    flags += [
        "--network",
        "mlp",
        "--network.options",
        "width=8",
        "depth=2",
        "--log.no-tensorboard",
        "--log.no-progress",
    ]
    return [sys.executable, str(tmp_path / "command.py"), "compare", *flags, "--out", str(tmp_path / "it"), *words]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["0", "2"])
def test_after_an_interruption_the_same_command_goes_on(tmp_path: Path, jobs: str) -> None:
    """Ctrl-C in the midst of the training is one line and 130; the run goes on from its checkpoint."""
    words = command(tmp_path, "--samples-seen", "64000", "--checkpoint-every", "100", "--jobs", jobs)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    folder = tmp_path / "it" / "runs" / "fm--linear--independent--0" / "checkpoints"
    for _ in range(1200):
        if folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir()):
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    out, said = started.communicate(timeout=120)
    assert started.returncode == 130, said
    assert out == ""
    assert said.splitlines()[-1].startswith("Interrupted; what is finished is in ")
    saved = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    assert 100 <= saved < 4000
    assert Comparison.load(tmp_path / "it").waiting == ("fm--linear--independent--0",)
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (outcome,) = Comparison.load(tmp_path / "it").outcomes
    assert (outcome.verdict, outcome.steps) == ("measured", 4000)
    told = done.stderr if jobs == "0" else (tmp_path / "it" / "logs" / f"{outcome.name}.txt").read_text()
    assert f"Going on from step {saved} of 4000" in told


@pytest.mark.slow
def test_entries_side_by_side_are_those_of_one_process(small: Compare, tmp_path: Path) -> None:
    one = small("lsd,lmd")
    other = small("lsd,lmd", out=tmp_path / "side by side", jobs=2)
    for first, second in zip(one.outcomes, other.outcomes, strict=True):
        assert second.verdict == "measured", second.told
        assert first.name == second.name
        assert [each.values for each in first.measured] == [each.values for each in second.measured]
        assert second.memory > 1e8

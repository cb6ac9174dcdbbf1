"""The table of a run: what stands in it, and that its samples are those of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from flowops.evaluation import Evaluation, evaluate
from flowops.runs import Run
from tests.evaluation.closed import of_map
from tests.programs import run

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def table(board: Run) -> Evaluation:
    return evaluate(board, steps=(1, 2), n=100, solvers=("heun",), solver_steps=2, seed=4)


def test_every_sampler_has_a_row_and_data_the_last(table: Evaluation) -> None:
    assert [row.sampler for row in table.rows] == [
        "map, 1 step",
        "map, 2 steps",
        "heun, 2 steps",
        "data, 100 other draws",
    ]
    assert [row.calls for row in table.rows[:-1]] == [1, 2, 4]
    assert all(row.seconds > 0 for row in table.rows[:-1])
    assert math.isnan(table.rows[-1].calls)
    assert table.columns == ("sliced W2", "MMD^2", "energy distance")  # there are more cells with mass than samples
    assert all(len(row.values) == len(table.columns) for row in table.rows)


def test_the_same_seed_gives_the_same_table(board: Run, table: Evaluation) -> None:
    again = evaluate(board, steps=(1, 2), n=100, solvers=("heun",), solver_steps=2, seed=4, chunk=33)
    for one, other in zip(table.rows, again.rows, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-4, abs=1e-6)
    assert again.residuals.lagrangian == pytest.approx(table.residuals.lagrangian, rel=1e-4)


def test_markdown_and_json_hold_the_same(table: Evaluation, tmp_path: Path) -> None:
    table.save(tmp_path / "e" / "table.md")
    text = (tmp_path / "e" / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    held = json.loads((tmp_path / "e" / "table.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert held["rows"][-1]["calls"] is None
    for line, row in zip(lines[2:], held["rows"], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == row["sampler"]
        assert [float(cell) for cell in cells[1:-2]] == pytest.approx(row["values"], rel=1e-3)
    for part in ("checkerboard", "seed 4", "100 samples", "Lagrangian", "step 2"):
        assert part in text


def test_samples_that_are_not_finite_are_told(board: Run) -> None:
    found = evaluate(of_map(board, 0.0, math.nan), steps=(1,), n=20, solvers=())
    assert found.rows[0].sampler == "map, 1 step (20 not finite)"
    assert all(map(math.isnan, found.rows[0].values))
    assert "| map, 1 step (20 not finite) |" in found.markdown()


def test_images_of_all_classes_are_measured(digits: Run) -> None:
    told: list[str] = []
    found = evaluate(digits, steps=(1,), n=120, solvers=(), guidance=1.5, split="test", report=told.append)
    assert [row.sampler for row in found.rows] == ["map, 1 step", "data, 120 of the split train"]
    assert found.rows[0].calls == 2
    assert "guidance 1.5" in found.markdown()
    assert told == [f"map, 1 step: Fréchet distance (pixels) {found.rows[0].values[0]:.4g}"]
    assert (digits.folder.path / "reference-pixels-test-299.safetensors").is_file()


def test_the_table_says_how_the_network_computed(board: Run, table: Evaluation) -> None:
    """Samples are those of the precision; residuals are of the map itself."""
    half = evaluate(board.on(precision="bf16"), steps=(1, 2), n=100, solvers=("heun",), solver_steps=2, seed=4)
    assert " on cpu, in bfloat16, seed 4." in half.markdown()
    assert " on cpu, seed 4." in table.markdown()
    assert (half.precision, table.precision) == ("bf16", "32")
    for one, other in zip(half.rows[:-1], table.rows, strict=False):
        assert one.values != other.values
        assert one.values == pytest.approx(other.values, rel=0.1, abs=0.01)
    assert half.residuals == table.residuals


COMPILED = """
import pytest
from flowops.evaluation import evaluate
from flowops.runs import Run

run = Run.load({folder!r})
options = {{"steps": (1, 2), "n": 70, "solvers": ("dopri5",), "chunk": 30, "seed": 4}}
plain, compiled = evaluate(run, **options), evaluate(run.on(compile=True), **options)
assert " on cpu, compiled, seed 4." in compiled.markdown()
for one, other in zip(compiled.rows, plain.rows):
    assert one.values == pytest.approx(other.values, rel=1e-2, abs=1e-4), (one, other)
assert compiled.residuals == plain.residuals
print("the same")
"""


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_table(board: Run, tmp_path: Path) -> None:
    assert run(tmp_path, COMPILED.format(folder=str(board.folder.path))).splitlines()[-1] == "the same"


def test_few_samples_are_refused(board: Run) -> None:
    with pytest.raises(ValueError, match="`n` must be at least 10 samples"):
        evaluate(board, n=9)


class Seen:
    """A measure that keeps the samples it was given, and the data it was made from."""

    samples: ClassVar[list[Tensor]] = []
    data: ClassVar[list[Tensor]] = []

    @classmethod
    def mean(cls, data: Tensor) -> Callable[[Tensor], float]:
        """The mean of samples."""
        cls.data.append(data)

        def measure(x: Tensor) -> float:
            cls.samples.append(x)
            return float(x.mean())

        return measure


@pytest.mark.parametrize(("name", "guidance"), [("board", None), ("digits", None), ("digits", 1.5)])
def test_what_is_measured_are_the_samples_of_the_run(
    request: pytest.FixtureRequest, name: str, guidance: float | None
) -> None:
    run: Run = request.getfixturevalue(name)
    Seen.samples.clear()
    Seen.data.clear()
    found = evaluate(
        run, steps=(1, 3), n=100, solvers=("heun", "dopri5"), solver_steps=2, seed=4, guidance=guidance,
        metrics=(f"{__name__}:Seen.mean",),
    )  # fmt: skip
    wanted = [
        run.draw(100, steps=1, seed=4, guidance=guidance).x,
        run.draw(100, steps=3, seed=4, guidance=guidance).x,
        run.draw(100, solver="heun", steps=2, seed=4, guidance=guidance).x,
        run.draw(100, solver="dopri5", seed=4, guidance=guidance).x,
    ]
    assert len(Seen.data) == 1
    assert len(Seen.samples) == 5  # the data come last
    for x, drawn, row in zip(Seen.samples, wanted, found.rows, strict=False):
        torch.testing.assert_close(x, drawn, rtol=0, atol=0)
        assert row.values[-1] == float(drawn.mean())
    assert found.columns[-1] == "Seen.mean"
    other = run.draw(100, steps=1, seed=5, guidance=guidance).x
    assert not torch.equal(Seen.samples[0], other)


def test_what_cannot_be_sampled_is_refused_before_anything_is(board: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "draw", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(ValueError, match="`method` must be one of .* got 'huen'"):
        evaluate(board, n=20, solvers=("heun", "huen"))
    with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1, got 0"):
        evaluate(board, n=20, steps=(1, 0))
    with pytest.raises(ValueError, match="`solver_steps` must be a whole number of at least 1, got 0"):
        evaluate(board, n=20, solver_steps=0)
    with pytest.raises(ValueError, match=r"`features` must be left out for samples of shape \[2\], .* got 'pixels'"):
        evaluate(board, n=20, features="pixels")


def test_a_metric_may_be_its_function(board: Run) -> None:
    Seen.samples.clear()
    found = evaluate(board, n=20, steps=(2,), solvers=(), metrics=(Seen.mean,))
    assert found.columns[-1] == "mean"
    assert found.rows[0].values[-1] == float(board.draw(20, steps=2).x.mean())


def test_a_metric_that_does_not_exist_is_named(board: Run) -> None:
    with pytest.raises(ValueError, match="`metrics` must be among sliced W2, .* got 'fid'"):
        evaluate(board, n=20, metrics=("fid",))
    with pytest.raises(ValueError, match="`metrics` must name something to import"):
        evaluate(board, n=20, metrics=("no.such:metric",))

"""Two processes evaluate what one does: each draws its share of the samples, one measures, both have the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowops.evaluation import Evaluation, evaluate
from flowops.runs import Run
from tests.runs.processes import in_processes

pytestmark = [pytest.mark.dist, pytest.mark.slow]

PROGRAM = """
import json
from flowops.evaluation import evaluate
from flowops.runs import Run
drawn, draw = [], Run.draw
def noted(self, n, **way):
    drawn.append([way.get("start", 0), n])
    return draw(self, n, **way)
Run.draw = noted
told, error = [], ""
try:
    evaluate(Run.load({folder!r}), report=told.append, **json.loads({options!r})).save(folder / f"{{number}}.md")
except ValueError as fault:
    error = str(fault)
print(json.dumps([drawn, told, error]))
"""


def two(folder: Path, run: Run, **options: object) -> list[Any]:
    """What each of two processes drew, was told and refused; each writes the table that it returns."""
    program = PROGRAM.format(folder=str(run.folder.path), options=json.dumps(options))
    return [json.loads(text) for text in in_processes(folder, program)]


def same(held: dict[str, object], table: Evaluation) -> None:
    """The same columns, rows and residuals, up to rounding; the time is its own."""
    assert held["columns"] == list(table.columns)
    assert held["reference"] == table.reference
    rows: list[dict[str, object]] = held["rows"]  # type: ignore[assignment]
    assert [row["sampler"] for row in rows] == [row.sampler for row in table.rows]
    for row, wanted in zip(rows, table.rows, strict=True):
        assert row["values"] == pytest.approx(wanted.values, rel=1e-4, abs=1e-6)
        if row["calls"] is not None:
            assert row["calls"] == pytest.approx(wanted.calls, rel=1e-2)
    assert held["residuals"] == pytest.approx(vars(table.residuals), rel=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*more samples:UserWarning")
@pytest.mark.parametrize("name", ["board", "digits"])
def test_two_processes_give_the_table_of_one(tmp_path: Path, request: pytest.FixtureRequest, name: str) -> None:
    run: Run = request.getfixturevalue(name)
    options = {"steps": [1, 2], "n": 101, "solvers": ["heun", "dopri5"], "solver_steps": 2, "seed": 4, "chunk": 30}
    if name == "digits":
        options |= {"guidance": 1.5, "metrics": ["sliced W2"]}
    wanted = evaluate(run, **options)  # type: ignore[arg-type]
    said = two(tmp_path, run, **options)
    tables = [json.loads((tmp_path / f"{k}.json").read_text()) for k in range(2)]
    assert tables[0] == tables[1]
    assert tables[0]["processes"] == 2
    assert "by 2 processes" in (tmp_path / "0.md").read_text()
    same(tables[0], wanted)
    for (drawn, told, error), first, last in zip(said, (0, 50), (50, 101), strict=True):
        assert drawn[0][1] == 2  # what is done once
        blocks = [[low, min(30, last - low)] for low in range(first, last, 30)]
        assert drawn[1:] == blocks * 4
        assert len(told) == (4 if first == 0 else 0)
        assert error == ""


def test_a_fault_of_the_one_that_measures_is_raised_by_both(tmp_path: Path, board: Run) -> None:
    for *_, error in two(tmp_path, board, n=20, steps=[1], solvers=[], metrics=["fid"]):
        assert "`metrics` must be among sliced W2" in error

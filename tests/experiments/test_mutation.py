"""Mutants: each is one change of a formula, the same draw is drawn again, and a wrong formula does not get through."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from experiments.mutation.__main__ import main
from experiments.mutation.changes import changes
from experiments.mutation.equivalent import EQUIVALENT, reason
from experiments.mutation.mutants import ROOT, drawn, mutants
from experiments.mutation.packages import PACKAGES, THEORY
from experiments.mutation.records import Found, append, read
from experiments.mutation.report import by_statement, page
from tests.programs import run

WANTED = {
    "a + b": {"a - b", "a", "b"},
    "a - b": {"a + b", "a"},
    "a * b": {"a / b", "a", "b", "-(a * b)"},
    "x ** 2": {"x * 2", "3"},
    "-x": {"x"},
    "a < b": {"a <= b", "a >= b"},
    "a and b": {"a or b"},
    "f(s, t)": {"f(t, s)"},
    "f(s, x)": set(),
    "f(t, t)": set(),
    "x.abs()": {"x"},
    "torch.sin(x)": {"torch.cos(x)", "x"},
    "X.ds(s)": {"X.dt(s)"},
    "1.0": {"1.1"},
    "True": {"False"},
    "'1/2 -1/3'": {"'1/2 11/3'", "'1/2 1/3'"},
    "'a word'": set(),
}


@pytest.mark.parametrize("text", WANTED)
def test_the_changes_of_an_expression(text: str) -> None:
    found = {ast.unparse(change.new) for change in changes(ast.parse(f"y = {text}"))}
    assert found == WANTED[text]


@pytest.mark.parametrize(
    "text",
    [
        'def f():\n    """One of 2 lines."""',
        "def f(x: Literal[1]) -> Literal[2]: ...",
        "@lru_cache(8)\ndef f(): ...",
        'if n < 1:\n    raise ValueError(f"{n + 1}")',
        "def __repr__(self): return 1 + 2",
        'whole(n, "n")',
        "zip(s, x, strict=True)",
        "import a",
    ],
)
def test_checks_of_arguments_and_what_is_no_formula_are_left_alone(text: str) -> None:
    body = text if text.startswith(("def", "@", "if", "import", "whole")) else f"y = {text}"
    assert not list(changes(ast.parse(body)))


def test_statements_are_left_out_and_conditions_turned() -> None:
    found = {ast.unparse(change.new) for change in changes(ast.parse("x += y\nif a:\n    x.mul_(b)\n"))}
    assert found == {"pass", "x -= y", "not a"}


def test_every_mutant_is_a_module_that_differs_in_one_place() -> None:
    path = "flowops/maps/parameterization.py"
    source = (ROOT / path).read_text(encoding="utf-8")
    found = mutants(path)
    assert len({mutant.key for mutant in found}) == len(found) > 20
    for mutant in found:
        text = mutant.text()
        compile(text, path, "exec")
        assert text != source
        assert text.replace(mutant.after, "", 1).count("\n") <= source.count("\n")
        assert source.encode()[mutant.start : mutant.end].decode() == mutant.before


def test_a_short_change_is_told_with_its_line() -> None:
    path = "flowops/_solvers/active.py"
    names = [mutant.name.partition(" ")[2] for mutant in mutants(path)]
    assert "constant: `5` → `6` in `IENCE, LOOK = 40, 6`" in names
    assert "constant: `5` → `6` in `STREAK = 6`" in names
    assert any(name.endswith("`bend.abs()` → `bend`") for name in names)


def test_a_change_that_stands_in_several_places_is_told_with_each() -> None:
    names = [m.name.partition(" ")[2] for m in mutants("flowops/fields/helmholtz.py") if m.before == "length / nodes"]
    assert len(set(names)) == len(names)
    assert "dropped term: `length / nodes` → `length` in `ft.fftfreq(nodes, length, dtype=dtype, dev`" in names


def test_a_reason_is_given_for_one_mutant_only() -> None:
    every = [mutant.name for package in PACKAGES.values() for mutant in package.mutants()]
    found = [each.partition(":")[0] + each[each.index(" ") :] for each in every if reason(each)]
    assert sorted(found) == sorted(EQUIVALENT)


def test_a_larger_sample_begins_with_the_smaller() -> None:
    candidates = mutants("flowops/times/law.py")
    assert drawn(candidates, 20, 0)[:5] == drawn(reversed(candidates), 5, 0)
    assert drawn(candidates, 5, 0) != drawn(candidates, 5, 1)


def test_every_package_has_files_and_judges() -> None:
    for package in PACKAGES.values():
        assert package.files()
        assert all((ROOT / file).is_file() for file in package.judges(light=False))
        assert set(package.judges(light=True)) <= set(package.judges(light=False))
    assert all((ROOT / file).is_file() for file in THEORY)


def test_what_any_look_caught_counts_and_is_told_by_statement(tmp_path: Path) -> None:
    path, a, b = tmp_path / "found.jsonl", "theory_checks/test_a.py", "tests/test_b.py"
    first = Found("1", "flowops/f.py:1 sign: `-x` → `x`", "maps", {a: "passed", b: "passed"})
    for found in (first, Found("1", first.name, "maps", {a: "caught"}, {a: "test_it"}, light=False)):
        append(path, found)
    append(path, Found("2", "flowops/f.py:2 sign: `-y` → `y`", "maps", {a: "passed", b: "time"}))
    append(path, Found("3", "flowops/f.py:3 sign: `-z` → `z`", "maps", {a: "passed"}))
    append(path, Found("4", "flowops/f.py:4 sign: `-w` → `w`", "maps", {"import": "caught"}))
    records = read(path).values()
    assert json.loads(path.read_text().splitlines()[0])["key"] == "1"
    assert by_statement(records) == {"test_a.py": {"caught": 1, "asked": 3}}
    text = page(list(records), "command")
    assert "| maps | 3 | 2 (67%) | 1 | 1 | 1 | 1 | 0 |" in text
    assert "* f.py:3 sign: `-z` → `z` (light look)\n" in text


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--report", "--out", "none.jsonl"], "`--out` must hold records to report, got none in none.jsonl;"),
        (["--list", "--sample", "-1"], "`--sample` must be at least 1, got -1;"),
    ],
)
def test_what_there_is_nothing_of_is_refused(
    words: list[str], wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["--package", "times", *words])
    assert wanted in capsys.readouterr().err


def test_a_mutant_of_a_module_that_has_changed_is_not_reported(tmp_path: Path) -> None:
    append(tmp_path / "found.jsonl", Found("1", "flowops/times/law.py:1 sign: `-x` → `x`", "times", {}))
    with pytest.raises(SystemExit):
        main(["--package", "times", "--report", "--out", str(tmp_path / "found.jsonl")])


PROGRAM = """
from pathlib import Path
from experiments.mutation.equivalent import EQUIVALENT, reason
from experiments.mutation.mutants import mutants
from experiments.mutation.runner import in_process, warm

warm()
files = ["theory_checks/test_identity.py", "tests/maps/test_parameterization.py"]
path = "flowops/maps/parameterization.py"
wrong = next(m for m in mutants(path) if m.kind == "dropped term")
print(in_process(None, files, light=True, walk=True)[0])
print(in_process(wrong, files, light=True)[0])
wrong = next(m for m in mutants("flowops/fields/helmholtz.py") if m.before == "modes - along")
blind = ["theory_checks/test_identity.py", "tests/times/test_dyadic.py"]
print(in_process(wrong, ["theory_checks/test_helmholtz_decomposition.py", *blind], light=True)[0])
"""


@pytest.mark.slow
def test_a_mutant_is_judged_in_a_process_of_its_own(tmp_path: Path) -> None:
    walked, said, blind = map(ast.literal_eval, run(tmp_path, PROGRAM).splitlines()[-3:])
    files = ["theory_checks/test_identity.py", "tests/maps/test_parameterization.py"]
    assert [line[0] for line in walked] == files
    assert "flowops/maps/flow_map.py" in walked[0]
    assert [line[0] for line in said if line[1] == "begun"] == files
    assert len([line for line in blind if line[1] == "begun"]) == 3
    assert [line[0] for line in blind if line[1] == "caught"] == ["theory_checks/test_helmholtz_decomposition.py"]

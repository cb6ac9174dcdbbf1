"""The table of methods in a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowops._named import written
from flowops.cli.methods import plain
from flowops.methods import METHODS, atlas
from tests.cli.commands import Console


def test_every_method_stands_in_the_table_with_its_source(flowops: Console) -> None:
    lines = flowops("methods").out.splitlines()
    heads = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line and not line.startswith(" ")}
    for name, method in METHODS.items():
        assert heads[name].startswith(method.row.source[:60])
    assert max(map(len, lines)) <= 100


def test_the_terms_of_a_method_are_in_plain_letters(flowops: Console) -> None:
    said = " ".join(flowops("methods").out.split())
    assert "v_tt(I_t) against I'_t; velocity: conditional d_t X_st(x) against b_t(X_st(x)); velocity: own" in said
    assert "constant: v_tt(X_st)" in said
    assert "\\" not in said
    assert "$" not in said


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_explained_with_all_its_options(flowops: Console, name: str) -> None:
    said = flowops("methods", name)
    assert said.code == 0
    assert said.out.startswith(f"{name}: ")
    assert "\\" not in said.out
    text = " ".join(said.out.split())
    for option in METHODS[name].row.options:
        assert f" {option.name}={written(option.default)} " in text
        assert " ".join(option.meaning.split()) in text
    assert f"Source: {METHODS[name].row.source}." in text
    assert ("Teacher: " in text) == bool(METHODS[name].row.teacher)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.row.preset_of])
def test_a_preset_says_what_it_is(flowops: Console, name: str) -> None:
    row = METHODS[name].row
    lines = flowops("methods").out.splitlines()
    place = next(k for k, line in enumerate(lines) if line.split()[:1] == [name] and not line.startswith(" "))
    assert f"is {row.preset_of}: " in lines[place + 1]
    said = " ".join(flowops("methods", name).out.split())
    assert f"It is {row.preset_of} under other settings: {row.settings}." in said


def test_a_row_of_ones_own_is_explained(flowops: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rows.py").write_text(
        "from flowops.methods import METHODS\nmine = METHODS['lsd'].with_options(eta=0.5)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert flowops("methods", "own_rows:mine").out.startswith("lsd: Lagrangian self-distillation")
    assert flowops("methods", "own_rows:other").error.startswith("NAME must name something to import")


def test_a_default_of_its_own_stands_in_place_of_that_of_every_method(
    flowops: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tempered.py").write_text(
        "from flowops.methods import METHODS, row\nfrom flowops.methods.options import ETA, P\n"
        "mine = row('mine', *METHODS['fm'].terms, options=(ETA, P(1.0)), source='here', summary='Mine.')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    said = flowops("methods", "tempered:mine").out
    own, shared = said.split("Options of every method")
    assert " p=1.0 " in own
    assert " p=" not in shared
    assert " norm=" in shared


def test_the_settings_of_the_paper_are_told(flowops: Console) -> None:
    told = "As in its paper, as --options paper=true\n  norm=PseudoHuber(c=None), weight=InverseStep(most=80.0)"
    assert told in flowops("methods", "ict").out
    assert "As in its paper, as --options paper=true\n  the defaults" in flowops("methods", "fm").out


@pytest.mark.parametrize("name", METHODS)
def test_what_the_settings_of_the_paper_lack_is_told(flowops: Console, name: str) -> None:
    said, lacking = " ".join(flowops("methods", name).out.split()), METHODS[name].row.lacking
    assert ("What is lacking: " in said) == bool(lacking)
    if lacking:
        assert f"What is lacking: {' '.join(plain(lacking).split())}." in said


def test_an_unknown_method_has_a_hint(flowops: Console) -> None:
    said = flowops("methods", "lds").error
    assert said.startswith("NAME must be one of fm, ")
    assert "did you mean 'lsd'?" in said


def test_the_atlas_tells_every_relation_under_the_row_that_it_leads_to(flowops: Console) -> None:
    lines = flowops("methods", "--atlas").out.splitlines()
    assert max(map(len, lines)) <= 100
    heads = [line for line in lines[:-2] if not line.startswith(" ")]
    assert heads == list(dict.fromkeys(relation.of for relation in atlas()))
    for relation in atlas():
        sign = "=" if relation.order is None else "~"
        first = next(k for k, line in enumerate(lines) if line == relation.of)
        last = next((k for k in range(first + 1, len(lines)) if not lines[k].startswith(" ")), len(lines))
        said = " ".join(" ".join(lines[first:last]).split())
        assert f"{sign} {relation.name}: " in said
        assert f"theory_checks/test_{relation.check}.py" in said
        assert " ".join(relation.lacking.split()) in said


def test_the_atlas_of_one_method_tells_what_it_is_and_what_is_it(flowops: Console) -> None:
    said = flowops("methods", "alpha-flow", "--atlas").out
    assert "psd-m\n  = alpha-flow: " in said
    assert "alpha-flow\n  = RCGM (first order): " in said
    assert "lmd" not in said
    wrong = flowops("methods", "alphaflow", "--atlas")
    assert wrong.code == 1
    assert "did you mean 'alpha-flow'" in wrong.error

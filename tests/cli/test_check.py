"""`flowops check`: verdicts on the terminal, a report in a folder, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.commands import Console
from tests.evaluation.report.pages import check_self_contained

HERE = "tests.checks.objects"
EXACT = ("--flow-map", f"{HERE}:exact", "--field", f"{HERE}:field")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports go where the command runs."""
    monkeypatch.chdir(tmp_path)


def test_a_right_map_is_exit_code_0(flowops: Console) -> None:
    said = flowops("check", *EXACT, "--n", 6)
    assert said.code == 0, said
    assert "the map: everything holds" in said.out
    assert said.out.endswith("The report: check/report.html\n")
    page = check_self_contained(Path("check/report.html").read_text(encoding="utf-8"))
    assert "could not be drawn" not in page.text
    assert [file.name for file in Path("check").iterdir()] == ["report.html"]


def test_a_wrong_map_is_exit_code_1_and_its_first_broken_equation_is_named(flowops: Console) -> None:
    words = ("--flow-map", f"{HERE}:euler", "--field", f"{HERE}:field", "--horizon", "0,2", "--n", 6)
    said = flowops("check", *words, "--json", "--junit", "--out", "wrong")
    assert said.code == 1
    assert "first broken equation: Lagrangian." in said.out
    page = check_self_contained(Path("wrong/report.html").read_text(encoding="utf-8"))
    assert "could not be drawn" not in page.text
    assert "The first broken one is Lagrangian." in page.text
    held = json.loads(Path("wrong/report.json").read_text(encoding="utf-8"))
    assert not held["holds"]
    assert {"Residuals over pairs of times", "Trajectories", "Certificate"} <= {s["title"] for s in held["sections"]}
    (suite,) = ElementTree.parse("wrong/junit.xml").getroot()
    assert suite.get("name") == "the map"
    assert int(suite.get("failures", "")) == sum("FAILS" in line for line in said.out.splitlines())


@pytest.mark.slow
def test_the_findings_on_a_schedule_are_shown(flowops: Console) -> None:
    said = flowops("check", "--alpha", "0.99*(1-t)", "--beta", "t")
    assert said.code == 1
    assert "first broken equation: alpha(0) = 1." in said.out
    page = Path("check/report.html").read_text(encoding="utf-8")
    assert "The schedule" in page
    assert "could not be drawn" not in page
    assert flowops("check", "--alpha", "0.99*(1-t)", "--beta", "t", "--ends-differ").code == 0


@pytest.mark.slow
def test_a_run_is_measured_and_its_report_lies_in_its_folder(flowops: Console, board_run: Path, tmp_path: Path) -> None:
    said = flowops("check", board_run, "--out", tmp_path / "report", "--json")
    assert said.code == 0, said
    assert "measured" in said.out
    assert "FAILS" not in said.out
    page = check_self_contained((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert "could not be drawn" not in page.text
    held = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert (held["facts"]["step"], held["facts"]["seed"]) == ("5", "0")


@pytest.mark.slow
def test_a_run_of_images_with_labels_shows_its_samples(flowops: Console, digits_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    assert flowops("check", digits_run, "--out", out, "--class", 3, "--guidance", 1.5, "--n", 2).code == 0
    page = check_self_contained((out / "report.html").read_text(encoding="utf-8"))
    assert "could not be drawn" not in page.text
    assert len(page.values("src")) == 6  # four numbers of steps, a solver, data


def test_what_cannot_be_checked_is_one_sentence_in_the_words_of_the_shell(flowops: Console) -> None:
    assert "--alpha and --beta must be given together" in flowops("check", "--alpha", "1-t").error
    assert "--flow-map must name something to import" in flowops("check", "--flow-map", "nowhere:f").error
    assert (
        "--field must take states of shape [2]"
        in flowops("check", "--flow-map", f"{HERE}:exact", "--field", f"{HERE}:wide").error
    )
    assert (
        "--flow-map must be finite at some state"
        in flowops("check", "--flow-map", f"{HERE}:nowhere", "--field", f"{HERE}:field").error
    )
    assert list(Path().iterdir()) == []


def test_what_does_not_go_together_is_refused(flowops: Console, board_run: Path) -> None:
    assert "--field must be left out beside the run" in flowops("check", board_run, "--field", f"{HERE}:field").error
    assert "--class must be given with a run" in flowops("check", *EXACT, "--class", 3).error
    assert "must be the folder of a run" in flowops("check", "nowhere").error
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(flowops: Console) -> None:
    Path("file").write_text("")
    for out in ("file", "file/below"):
        assert "--out must be a folder" in flowops("check", *EXACT, "--out", out).error
    assert [path.name for path in Path().iterdir()] == ["file"]

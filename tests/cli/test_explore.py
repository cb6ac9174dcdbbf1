"""`flowops explore`: what it is given, and what it says when that is not right; serving is replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowops.cli import explore
from flowops.evaluation.explore import Choice, Subject
from tests.cli.commands import Console

pytest.importorskip("bokeh")


class Served:
    """In place of a server: keeps what it is given, and is interrupted."""

    def __init__(self) -> None:
        self.subject: Subject | None = None
        self.port = -1

    def __call__(self, subject: Subject, *, port: int, begun: Callable[[str], None]) -> None:
        self.subject, self.port = subject, port
        begun("http://localhost:1/")
        raise KeyboardInterrupt


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    found = Served()
    monkeypatch.setattr(explore, "serve", found)
    return found


def test_a_run_is_explored_with_its_classes(flowops: Console, served: Served, digits_run: Path) -> None:
    said = flowops("explore", digits_run, "--no-browser", "--port", 0, "--class", 3, "--n", 5)
    assert said.code == 130
    assert said.out == f"{digits_run}: http://localhost:1/ (Ctrl-C ends it)\n"
    assert served.subject is not None
    view = served.subject.under(None)
    assert view.images
    assert view.labels is not None
    assert view.labels.tolist() == [3] * 5
    assert set(view.ways) == {"map", "euler", "heun", "ddim"}


def test_a_run_begins_under_the_schedule_that_is_typed(flowops: Console, served: Served, board_run: Path) -> None:
    assert flowops("explore", board_run, "--no-browser", "--n", 20).code == 130
    assert served.subject is not None
    own = served.subject.under(None)
    formulas = ("--alpha", "cos(pi*t/2)", "--beta", "sin(pi*t/2)")
    assert flowops("explore", board_run, "--no-browser", "--n", 20, *formulas).code == 130
    moved = served.subject.under(None)
    ends = [view.scene(Choice()) for view in (own, moved)]
    assert (ends[0].mapped - ends[1].mapped).abs().max() < 1e-5  # one map on two clocks, from end to end
    assert (own.true(0.5) - moved.true(0.5)).abs().max() > 1e-2


@pytest.mark.usefixtures("served")
def test_the_page_is_opened_unless_it_is_not_wanted(flowops: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert flowops("explore", "--problem", "mixture", "--n", 5, "--no-browser").code == 130
    assert opened == []
    assert flowops("explore", "--problem", "mixture", "--n", 5).code == 130
    assert opened == ["http://localhost:1/"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "RUN or --problem must be given, one of them, got neither"),
        (("nowhere",), "`nowhere` must be the folder of a run"),
        (("runs/one", "--problem", "mixture"), "one of them, got runs/one and mixture"),
        (("--problem", "mixtures"), "did you mean 'mixture'?"),
        (("--problem", "mixture", "--class", "3"), "--class must be given with a run, got 3 without"),
        (("--problem", "mixture", "--alpha", "1-t"), "--alpha and --beta must be given together"),
        (("--problem", "mixture", "--alpha", "open(t)", "--beta", "t"), "--alpha must"),
        (("--problem", "mixture", "--alpha", "(1-t)*(1-2*t)", "--beta", "t*(1-2*t)"), "interpolant must satisfy"),
        (("--problem", "mixture", "--n", "0"), "--n must be a whole number of at least 1"),
        (("--problem", "rotation", "--alpha", "1-t", "--beta", "t"), "given without one; leave them out"),
    ],
)
def test_what_is_not_right_is_one_sentence(
    flowops: Console, served: Served, words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in flowops("explore", *words, "--no-browser").error
    assert served.subject is None


def test_a_missing_extra_is_named(flowops: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)
    error = flowops("explore", "--problem", "mixture", "--no-browser").error
    assert error == "`bokeh` must be installed for this, and it is not; run pip install 'flowops[explore]'."

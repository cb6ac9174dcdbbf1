"""What a user sees: a bar on a terminal, plain lines elsewhere, nothing from the other processes."""

from __future__ import annotations

import io
import sys
import time

import pytest

from flowops.runs.progress import Lines, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_plain_lines_come_every_ten_seconds_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = 50.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(100, "lsd", stream=stream) as progress:
        for step in range(1, 101):
            now += 0.25
            progress.update(step, f"loss {step}")
    assert stream.getvalue().splitlines() == [
        "lsd: step 40 of 100 (40%), 0:00:15 left  loss 40",
        "lsd: step 80 of 100 (80%), 0:00:05 left  loss 80",
        "lsd: step 100 of 100 (100%)  loss 100",
    ]


def test_the_speed_of_a_resumed_run_is_that_of_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(1000, "run", start=900, stream=stream) as progress:
        now = 10.0
        progress.update(910)
    assert stream.getvalue() == "run: step 910 of 1000 (91%), 0:01:30 left\n"


def test_no_control_characters_reach_a_file() -> None:
    stream = io.StringIO()
    with Progress(1, "run", stream=stream) as progress:
        progress.line("\x1b[31mred\r\tand\x07 more")
        progress.update(1, "\x1b[2Kdone")
    assert all(character.isprintable() for character in stream.getvalue().replace("\n", ""))
    assert "red" in stream.getvalue()


def test_a_bar_on_a_terminal(terminal: Terminal) -> None:
    pytest.importorskip("rich")
    with Progress(10, "lsd [bold]", start=3, stream=terminal) as progress:
        progress.update(4, "loss [0.5]")
        progress.line("a line [that] stays")
        progress.update(10, "loss [0.4]")
    shown = terminal.getvalue()
    assert "a line [that] stays" in shown
    assert "lsd [bold]" in shown  # what looks like markup is text
    assert "10/10" in shown
    assert "loss [0.4]" in shown


@pytest.mark.parametrize("why", ["missing", "dumb"])
def test_without_rich_or_on_a_simple_terminal_lines_are_plain(
    why: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "missing":
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    else:
        monkeypatch.setenv("TERM", "dumb")
    with Progress(10, "lsd", stream=terminal) as progress:
        progress.update(10)
    assert terminal.getvalue() == "lsd: step 10 of 10 (100%)\n"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_other_processes_are_silent(stream: io.StringIO) -> None:
    with Progress(2, "lsd", stream=stream, enabled=False) as progress:
        progress.update(2, "x")
        progress.line("y")
    assert stream.getvalue() == ""


def test_the_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, "lsd") as progress:
        progress.update(1)
    captured = capsys.readouterr()
    assert captured.err == "lsd: step 1 of 1 (100%)\n"
    assert captured.out == ""


@pytest.mark.parametrize("total", [None, 0])
def test_a_run_that_the_clock_ends_tells_the_part_that_is_done(
    monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    now, stream = 50.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(total, "lsd", stream=stream) as progress:
        for step in range(1, 11):
            now += 5.0
            progress.update(step, f"loss {step}", done=step / 10)
    assert stream.getvalue().splitlines() == [
        *(f"lsd: step {k} ({10 * k}%), 0:00:{50 - 5 * k:02d} left  loss {k}" for k in (2, 4, 6, 8)),
        "lsd: step 10 (100%)  loss 10",
    ]


@pytest.mark.parametrize("total", [None, 100_000])
def test_a_run_that_goes_on_until_the_clock_ends_it_tells_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(total, "lsd", start=100, stream=stream) as progress:  # of an hour, half of which has passed
        progress.update(101, done=0.5)
        now = 60.0
        progress.update(200, done=0.5 + 1 / 60)
        progress.update(210, done=1.0)
    of = "" if total is None else " of 100000"
    assert stream.getvalue().splitlines() == [f"lsd: step 200{of} (52%), 0:29:00 left", f"lsd: step 210{of} (100%)"]


def test_a_stream_that_nobody_reads_any_more_is_no_error() -> None:
    class Closed(io.StringIO):
        def write(self, _: str, /) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with Progress(2, "lsd", stream=Closed()) as progress:
        progress.line("a line")
        progress.update(2)


def test_a_run_without_an_end_in_sight_tells_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = 50.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(None, "lsd", stream=stream) as progress:
        now += 20.0
        progress.update(7)
    assert stream.getvalue() == "lsd: step 7 (0%)\n"


def test_lines_reach_a_function_in_place_of_a_stream() -> None:
    told: list[str] = []
    with Progress(2, "lsd", stream=Lines(told.append)) as progress:
        progress.line("a line")
        progress.update(2, "loss 1")
    assert told == ["a line", "lsd: step 2 of 2 (100%)  loss 1"]


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="`total` must be a whole number of at least 0, got -1"):
        Progress(-1, "lsd")

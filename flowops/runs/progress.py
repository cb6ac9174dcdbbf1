"""How far a run is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, Protocol, Self, runtime_checkable

from flowops._arguments import whole
from flowops._named import require

EVERY = 10.0  # seconds between plain lines


def tell(line: str) -> None:
    """A line on the standard error."""
    with suppress(OSError):  # nobody reads it any more
        print(line, file=sys.stderr, flush=True)  # noqa: T201


@runtime_checkable
class Stream(Protocol):
    """What of a text file is needed here."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class Lines:
    """A stream that hands every line to a function, in place of a file."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def write(self, text: str, /) -> int:
        """Hand it on."""
        self._report(text.rstrip("\n"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """No terminal."""
        return False


class Progress:
    """Shows the number of steps done out of a total; a context manager.

    Plain lines, at most one in ten seconds besides the last, go to streams that are no terminal, and to any if rich is
    not installed; they hold no control characters.

    Args:
        total: steps of the run; None or 0 where only the time ends it.
        label: what stands before them.
        start: steps done before.
        stream: where it is shown; None for the standard error.
        enabled: whether it is; one process of several should.

    Raises:
        ValueError: for a negative total.
    """

    def __init__(
        self, total: int | None, label: str, *, start: int = 0, stream: Stream | None = None, enabled: bool = True
    ) -> None:
        whole(total or 0, "total", 0)
        self._stream = sys.stderr if stream is None else stream
        self._total, self._label, self._first, self._enabled = total or None, label, start, enabled
        self._bar: Any = None
        self._origin: float | None = None  # the part that was done before, known at the first update
        self._begun = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        self._begun = self._shown = time.monotonic()
        if self._enabled and self._stream.isatty():
            self._bar = _bar(self._stream)
        if self._bar is not None:
            self._task = self._bar.add_task(self._label, total=self._total, completed=self._first, text="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, step: int, text: str = "", *, done: float | None = None) -> None:
        """`step` steps are done; `text` tells how it goes, `done` the part that is done if time counts beside steps."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=text)
            return
        now, by_steps = time.monotonic(), step / self._total if self._total else 0.0
        part = by_steps if done is None else done
        if self._origin is None:
            in_steps = self._total is not None and part == by_steps
            self._origin = self._first / (self._total or 1) if in_steps else part if self._first else 0.0
        if not self._enabled or (now - self._shown < EVERY and part < 1):
            return
        self._shown = now
        rate = (part - self._origin) / max(now - self._begun, 1e-9)
        left = f", {_duration((1 - part) / rate)} left" if rate > 0 and part < 1 else ""
        of = f" of {self._total}" if self._total else ""
        self._plain(f"{self._label}: step {step}{of} ({part:.0%}){left}  {text}".rstrip())

    def line(self, text: str) -> None:
        """Show a line that stays, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self._enabled:
            self._plain(text)

    def _plain(self, text: str) -> None:
        with suppress(OSError):  # nobody reads it any more
            self._stream.write("".join(c if c.isprintable() else " " for c in text) + "\n")
            self._stream.flush()


def _bar(stream: Stream) -> Any:
    """A bar by rich, None where it is missing or the terminal cannot move its cursor."""
    try:
        progress, console = require("rich.progress", "train"), _console(require("rich.console", "train"), stream)
    except ImportError:
        return None
    if console.is_dumb_terminal:
        return None
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[text]}", markup=False),
    )
    return progress.Progress(*columns, console=console)


def _console(module: ModuleType, stream: Stream) -> Any:
    return module.Console(file=stream)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"

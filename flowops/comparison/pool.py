"""Entries carried out one after the other, or several side by side in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from flowops.comparison.entry import Entry, Protocol
from flowops.comparison.outcome import Outcome
from flowops.comparison.work import Report, carried_out

LOOK = 0.1  # seconds between looks at the processes
FAULTS = (ValueError, TypeError, OSError, ImportError, RuntimeError)
Done = Callable[[Entry, Outcome], None]


def carry_out(
    entries: Sequence[Entry], protocol: Protocol, known: dict[str, Outcome], jobs: int, report: Report, done: Done
) -> None:
    """Carry out what is not known yet, each entry after those that it needs.

    Args:
        entries: all of them.
        protocol: how they are measured.
        known: what came of those that are finished; grows.
        jobs: processes side by side; 0 for none but this one.
        report: is told lines of the entries that this process carries out.
        done: is told every entry that is finished, with what came of it.

    Raises:
        Interrupted: after a signal in this process.
        KeyboardInterrupt: after Ctrl-C, when the steps that were done are saved.
    """

    def finish(entry: Entry, outcome: Outcome) -> None:
        known[entry.name] = outcome
        done(entry, outcome)

    waiting = [entry for entry in entries if entry.name not in known]
    if jobs == 0:
        for entry in waiting:
            finish(entry, _here(entry, protocol, _before(entry, known), report))
        return
    running: list[_Process] = []
    try:
        while waiting or running:
            ready = [entry for entry in waiting if all(name in known for name in entry.needs)]
            for entry in ready[: jobs - len(running)]:
                waiting.remove(entry)
                running.append(_Process.started(entry, protocol, _before(entry, known)))
            time.sleep(LOOK)
            for process in [each for each in running if each.child.poll() is not None]:
                running.remove(process)
                finish(process.entry, process.outcome())
    finally:
        for process in running:
            process.interrupt()
        for process in running:
            process.end()


def _before(entry: Entry, known: Mapping[str, Outcome]) -> dict[str, Outcome]:
    return {name: known[name] for name in entry.needs}


def _here(entry: Entry, protocol: Protocol, before: Mapping[str, Outcome], report: Report) -> Outcome:
    try:
        return carried_out(entry, protocol, before, report)
    except FAULTS as error:
        return Outcome.of(entry, "failed", str(error))


@dataclass(frozen=True)
class _Process:
    """An entry in a process of its own."""

    entry: Entry
    child: subprocess.Popen[str]
    log: IO[str]

    @classmethod
    def started(cls, entry: Entry, protocol: Protocol, before: Mapping[str, Outcome]) -> _Process:
        """The process that carries it out; what it says beside its fault goes to a file in the folder of its run."""
        path = log_of(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("a", encoding="utf-8")
        threads = {} if entry.config.hardware.threads else {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        child = subprocess.Popen(
            [sys.executable, "-m", "flowops.comparison"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, start_new_session=True, env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        task = {
            "entry": entry.plain(),
            "protocol": asdict(protocol),
            "before": {name: outcome.plain() for name, outcome in before.items()},
        }
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it ended before it read: its exit says so
            child.stdin.write(json.dumps(task) + "\n")
            child.stdin.flush()
        return cls(entry, child, log)

    def outcome(self) -> Outcome:
        """What came of it, when it has ended.

        Raises:
            KeyboardInterrupt: if it was interrupted.
        """
        said = self.end()
        if self.child.returncode in (128 + signal.SIGINT, -signal.SIGINT):  # the second before it could say so
            raise KeyboardInterrupt
        found = Outcome.load(self.entry.outcome) if self.child.returncode == 0 else None
        if found is not None:
            return found
        how = f"its process ended with {self.child.returncode}; see {log_of(self.entry)}"
        return Outcome.of(self.entry, "failed", said or how)

    def interrupt(self) -> None:
        """Ask it to save its steps and to end."""
        self.child.send_signal(signal.SIGINT)

    def end(self) -> str:
        """Wait for its end; what it said of its fault."""
        assert self.child.stdout is not None
        assert self.child.stdin is not None
        said = self.child.stdout.read()
        self.child.wait()
        with suppress(BrokenPipeError):
            self.child.stdin.close()
        self.child.stdout.close()
        self.log.close()
        return " ".join(said.split())


def log_of(entry: Entry) -> Path:
    """The file with what the process of an entry said, beside the folders of the runs."""
    return entry.folder.parent.parent / "logs" / f"{entry.name}.txt"

"""One entry in a process of its own: `python -m flowops.comparison`, with the task as JSON on the standard input.

The task is one line. The standard input stays open as long as the process that started this one lives. At its end the
entry is interrupted like by Ctrl-C: its steps are saved.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings

from flowops.comparison.entry import Entry, Protocol
from flowops.comparison.outcome import Outcome
from flowops.comparison.work import carried_out
from flowops.runs.progress import tell
from flowops.training import Interrupted

INTERRUPTED, FAILED = 130, 1


def main() -> int:
    """Carry it out; 0 when its outcome is written, 130 after an interruption, 1 with a sentence on the output."""
    held = json.loads(sys.stdin.readline())
    threading.Thread(target=_watch, daemon=True).start()
    entry, protocol = Entry.of(held["entry"]), Protocol.of(held["protocol"])
    before = {name: Outcome.read(outcome) for name, outcome in held["before"].items()}
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
    try:
        carried_out(entry, protocol, before, tell)
    except (Interrupted, KeyboardInterrupt):
        return INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        sys.stdout.write(f"{' '.join(str(error).split())}\n")
        return FAILED
    return 0


def _watch() -> None:
    """Interrupt this process when the one that started it is gone."""
    while sys.stdin.readline():
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())

"""`flowops check`: whether a schedule, field or flow map of your own is what it is meant to be."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.checks import Request
from flowops.cli.console import to_stdout
from flowops.cli.parsing import FORMULA, Flag, parse

FLAGS = {name: Flag(shown=FORMULA) for name in ("alpha", "beta", "gamma")} | {
    name: Flag(shown="MODULE:NAME") for name in ("field", "flow_map", "log_density", "problem", "states")
}


def run(args: Sequence[str]) -> int:
    """Print the reports; the exit code is 1 if something fails, or nothing could be decided."""
    reports = [check() for _, check in parse(Request, args, "check", flags=FLAGS).checks()]
    to_stdout("\n\n".join(map(str, reports)))
    return 0 if all(report.holds for report in reports) else 1

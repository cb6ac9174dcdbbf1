"""What each pretended device covers, as a table of the documentation.

python -m tests.devices.table           # writes docs/devices.md between its marks
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.devices.cases import COLUMNS, Case, Column, Group
from tests.devices.judging import JUDGING_GROUPS
from tests.devices.methods import METHOD_GROUPS
from tests.devices.operators import OPERATOR_GROUPS
from tests.devices.step import STEP_GROUPS

GROUPS = (*STEP_GROUPS, *METHOD_GROUPS, *OPERATOR_GROUPS, *JUDGING_GROUPS)
PAGE = Path(__file__).parents[2] / "docs" / "devices.md"
BEGIN, END = "<!-- covered: written by tests/devices/table.py -->\n", "<!-- end of covered -->"


def cell(case: Case, group: Group, column: Column) -> str:
    """What a column says of a case."""
    if column not in group.columns:
        return ""
    if case.never or (case.double and not column.wide):
        return "no"
    return "waits" if case.waits else "yes"


def why(case: Case) -> str:
    """The reason of what is not a plain yes."""
    reasons = dict.fromkeys(reason for reason in (case.never, case.waits, case.double) if reason)
    return "; ".join(reasons)


def table() -> str:
    """One line for the cases of a group that have the same cells."""
    titles = [column.title for column in COLUMNS]
    lines = [f"| | {' | '.join(titles)} | why not |", "|---" * (len(titles) + 2) + "|"]
    for group in GROUPS:
        lines.append(f"| **{group.title}** |" + " |" * (len(titles) + 1))
        alike: dict[tuple[str, ...], list[str]] = {}
        for case in group.cases:
            cells = (*(cell(case, group, column) for column in COLUMNS), why(case))
            alike.setdefault(cells, []).append(case.name)
        lines += [f"| {'; '.join(names)} | {' | '.join(cells)} |" for cells, names in alike.items()]
    return "\n".join(lines)


def rewritten(text: str) -> str:
    """The page with the table as it should be."""
    before, begin, rest = text.partition(BEGIN)
    if not begin or END not in rest:
        raise SystemExit(
            f"{PAGE.name} must hold the marks {BEGIN.strip()} and {END}; put them where the table belongs."
        )
    return f"{before}{BEGIN}\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")

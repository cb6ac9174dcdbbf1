"""The file of golden values: read, compared, and written anew.

python -m tests.golden.write            # writes tests/golden/values.json and prints what moved

Whoever writes it anew says in the change what moved, and why it should.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.golden.measured import RUNS, Numbers

FILE = Path(__file__).parent / "values.json"
TOLERANCE = 1e-7
"""Relative, of numbers computed in float64; other versions of torch may sum in another order."""
LOOSE = {"optimizer muon": 0.05}
"""Runs with products in bfloat16: torch's Muon takes its root there."""


def stored() -> dict[str, Numbers]:
    """The values of the file."""
    values: dict[str, Numbers] = json.loads(FILE.read_text(encoding="utf-8"))
    return values


def text(values: Mapping[str, Numbers]) -> str:
    """The file: a line for each quantity, twelve digits of each number."""
    runs = []
    for name, numbers in values.items():
        lines = [f"    {json.dumps(key)}: {json.dumps(_rounded(value))}" for key, value in numbers.items()]
        runs.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(runs) + "\n}\n"


def moved(name: str, old: Numbers, new: Numbers) -> list[str]:
    """A line for each number of a run that is another one, or that only one side has."""
    before, after = dict(_flat(old)), dict(_flat(new))
    tolerance = LOOSE.get(name, TOLERANCE)
    lines = []
    for path in dict.fromkeys((*before, *after)):
        a, b = before.get(path), after.get(path)
        if a is None or b is None or not math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-5 * tolerance):
            lines.append(f"{name}, {path}: {_shown(a)} -> {_shown(b)}")
    return lines


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, inner in items:
        yield from _flat(inner, f"{path} {key}".strip())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return {key: _rounded(inner) for key, inner in value.items()}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g}"


def main() -> None:
    """Measure, print what moved, and write."""
    old = stored() if FILE.is_file() else {}
    new = {name: measure() for name, measure in RUNS.items()}
    lines = [line for name in dict.fromkeys((*old, *new)) for line in moved(name, old.get(name, {}), new.get(name, {}))]
    FILE.write_text(text(new), encoding="utf-8")
    sys.stdout.write("\n".join([*lines, f"{len(lines)} numbers moved; wrote {FILE.name}"]) + "\n")


if __name__ == "__main__":
    main()

"""How far one thing walks through the library: few files, few calls."""

from __future__ import annotations

import re

import pytest

from tests.programs import run

MOST = {  # files, calls
    "one `lsd` loss": (18, 120),
    "two steps of `flowops train digits`": (57, None),
    "`flowops sample`": (30, None),
}


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    # in a process of its own, since the tests wrap every function to check shapes
    printed = run(tmp_path_factory.mktemp("walks"), "from experiments.benchmarks.walks import main\n\nmain()\n")
    found = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \|$", printed, re.MULTILINE)
    return {name: (int(files), int(calls)) for name, files, calls in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST)
def test_a_walk_is_short(name: str, walks: dict[str, tuple[int, int]]) -> None:
    files, calls = walks[name]
    most_files, most_calls = MOST[name]
    assert 5 < files <= most_files
    assert most_calls is None or 20 < calls <= most_calls

"""What `run.json` says of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flowops.runs.facts import read_facts

FACTS: dict[str, Any] = {"event": [1, 8, 8], "classes": ["a"], "paired": False, "guided": True, "data": "x: 3"}


def test_they_are_read_with_the_changes_if_there_are_any(tmp_path: Path) -> None:
    path, change = tmp_path / "run.json", {"step": 4, "setting": "batch", "before": 1, "after": 2}
    path.write_text(json.dumps(FACTS))
    found = read_facts(path)
    assert (found.event, found.classes, found.guided) == (torch.Size([1, 8, 8]), ("a",), True)
    assert (found.data, found.changes) == ("x: 3", [])
    path.write_text(json.dumps({**FACTS, "changes": [change]}))
    assert read_facts(path).changes == [change]
    path.write_text(json.dumps({**FACTS, "changes": [{**change, "step": "4"}]}))
    assert read_facts(path).changes == [change]


@pytest.mark.parametrize("changed", [{"event": [0]}, {"event": "x"}, {"classes": 3}, {"changes": [{}]}, {"changes": 1}])
def test_others_are_refused_in_one_sentence(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**FACTS, **changed}))
    with pytest.raises(ValueError, match="must hold event, classes, paired and guided, and does not") as caught:
        read_facts(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"\xff\x00")
    with pytest.raises(ValueError, match="must hold event"):
        read_facts(path)

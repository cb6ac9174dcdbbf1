"""What several processes tell each other: shares, results, and the faults of any of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowops.runs import ranks
from tests.runs.processes import in_processes


def fails() -> int:
    raise ValueError("mine")


def test_one_process_alone_does_everything() -> None:
    assert (ranks.rank(), ranks.ranks(), ranks.share(5)) == (0, 1, range(5))
    assert ranks.collected(lambda: 3) == [3]
    assert ranks.told(lambda: 3) == ranks.on_first(lambda: 3) == 3
    for shared in (ranks.collected, ranks.told, ranks.on_first):
        with pytest.raises(ValueError, match="mine"):
            shared(fails)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100])
def test_shares_are_all_numbers_in_their_order(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "ranks", lambda: 3)
    shares = []
    for k in range(3):
        monkeypatch.setattr(ranks, "rank", lambda k=k: k)
        shares.append(ranks.share(n))
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


PROGRAM = """
import json
from flowops.runs import ranks
said = {
    "rank": [ranks.rank(), ranks.ranks(), list(ranks.share(7))],
    "collected": ranks.collected(lambda: number + 10),
    "told": ranks.told(lambda: number + 10),
    "on_first": ranks.on_first(lambda: number + 10),
}

def fault(shared, failing):
    def work():
        if number == failing:
            raise OSError(28, f"No space left on {number}")
        return number
    try:
        return shared(work)
    except OSError as error:
        return str(error)

said["faults"] = [fault(ranks.collected, 1), fault(ranks.told, 0), fault(ranks.on_first, 0), fault(ranks.told, 1)]
said["after"] = ranks.told(lambda: "still together")
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.dist
def test_three_processes_hear_of_each_other(tmp_path: Path) -> None:
    said = [json.loads(text) for text in in_processes(tmp_path, PROGRAM, 3)]
    assert [each["rank"] for each in said] == [[0, 3, [0, 1]], [1, 3, [2, 3]], [2, 3, [4, 5, 6]]]
    assert [each["collected"] for each in said] == [[10, 11, 12], [], []]
    assert [each["told"] for each in said] == [10, 10, 10]
    assert [each["on_first"] for each in said] == [10, None, None]
    full = "[Errno 28] No space left on {}"
    assert all(each["faults"] == [full.format(1), full.format(0), full.format(0), 0] for each in said)
    assert all(each["after"] == "still together" for each in said)

"""Whatever a checkpoint needs of the disk may fail, and the process may die there: no saved one is lost or half there.

The places are counted, not listed: each fault is tried at the first thing that is done to a file, at the second, and so
on up to the last.
"""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowops.runs.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, load_weights
from flowops.runs.folder import candidates
from flowops.runs.saving import save_averages
from tests.programs import run
from tests.runs.checkpoints import save, tensors
from tests.runs.disk import Died, Disk, Fault

Work = Callable[[Path], None]


def fresh(folder: Path) -> None:
    """The first checkpoint of a run."""
    save(folder, 2)


def following(folder: Path) -> None:
    """One after others, of which the oldest goes."""
    save(folder, 2, keep=2)


def again(folder: Path) -> None:
    """One in place of another, of a run that went back."""
    save(folder, 1, keep=1)


def apart(folder: Path) -> None:
    """Averages alone, in place of others."""
    save_averages(folder.parent / "averages", 1, {"power-0.1": tensors(5)})


CASES: dict[str, tuple[tuple[int, ...], Work]] = {
    "the first one": ((), fresh),
    "one after others": ((0, 1), following),
    "one in place of another": ((0, 1), again),
    "averages apart": ((1,), apart),
}
MANY = ("one after others", "one in place of another")  # things that are done to files, each of which may go wrong
CASES_BY_TIME = [pytest.param(case, marks=pytest.mark.slow) if case in MANY else case for case in CASES]


def prepare(folder: Path, steps: tuple[int, ...]) -> None:
    """A run with checkpoints and averages of these steps."""
    for step in steps:
        save(folder, step)
        save_averages(folder.parent / "averages", step, {"power-0.1": tensors(4)})


def number(folder: Path, steps: tuple[int, ...], work: Work) -> int:
    """How many things `work` does to files."""
    prepare(folder, steps)
    with Disk(folder.parent).mounted() as disk:
        work(folder)
    return disk.count


def names(folder: Path) -> set[str]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check(folder: Path, without: Path, steps: tuple[int, ...], work: Work) -> None:
    """What was saved is there; also when the disk is full at the next save; the one after is as if nothing happened.

    `without` is where it was done without a fault.
    """
    check_saved(folder, steps)
    with Disk(folder.parent, 12, "full").mounted(), pytest.raises(CheckpointError, match="No space left on device"):
        save(folder, 7)
    check_saved(folder, steps)
    work(folder)
    assert names(folder.parent) == names(without.parent)
    assert all(load_checkpoint(path).step == step for step, path in candidates(folder).items())


def check_saved(folder: Path, steps: tuple[int, ...]) -> None:
    """Every checkpoint that has a place is whole, and one is there if one was."""
    found = candidates(folder)
    for step, path in found.items():
        checkpoint = load_checkpoint(path)
        assert checkpoint.step == step
        torch.testing.assert_close(checkpoint.weights, tensors(step), rtol=0, atol=0)
        torch.testing.assert_close(checkpoint.averages["0.999"], tensors(step + 1), rtol=0, atol=0)
    assert set(steps[-1:]) <= set(found)
    assert (latest_checkpoint(folder, pytest.fail) is None) == (not found)
    if steps:
        _, average = load_weights(folder.parent / "averages", 1, "power-0.1")
        assert any(torch.equal(average["a.weight"], tensors(seed)["a.weight"]) for seed in (4, 5))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no time to sync."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("fault", ["fails", "full", "dies"])
@pytest.mark.parametrize("case", CASES_BY_TIME)
def test_a_fault_anywhere_costs_no_older_checkpoint(tmp_path: Path, case: str, fault: Fault) -> None:
    steps, work = CASES[case]
    places = number(tmp_path / "counted" / "checkpoints", steps, work)
    assert places > 10
    (tmp_path / "prepared").mkdir()
    prepare(tmp_path / "prepared" / "checkpoints", steps)
    refused = 0
    for at in range(1, places + 1):
        folder = tmp_path / str(at) / "checkpoints"
        shutil.copytree(tmp_path / "prepared", folder.parent)
        try:
            with Disk(folder.parent, at, fault).mounted():
                work(folder)
        except (CheckpointError, Died):
            refused += 1
        check(folder, tmp_path / "counted" / "checkpoints", steps, work)
    assert refused > places / 2  # what is removed at the end is not missed


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_process_that_ends_anywhere_costs_no_older_checkpoint(tmp_path: Path, case: str) -> None:
    steps, work = CASES[case]
    places = number(tmp_path / "counted" / "checkpoints", steps, work)
    for at in range(1, places + 1):
        prepare(tmp_path / str(at) / "checkpoints", steps)
    text = f"""
import os
from pathlib import Path
from flowops.runs.saving import save_averages
from tests.runs.checkpoints import save, tensors
from tests.runs.disk import Disk

{inspect.getsource(work)}
for at in range(1, {places} + 1):
    folder = Path({str(tmp_path)!r}, str(at), "checkpoints")
    child = os.fork()
    if not child:
        with Disk(folder.parent, at, "exits").mounted():
            {work.__name__}(folder)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(tmp_path, text).split() == ["9"] * places
    for at in range(1, places + 1):
        check(tmp_path / str(at) / "checkpoints", tmp_path / "counted" / "checkpoints", steps, work)

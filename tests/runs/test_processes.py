"""The processes of a run: how many there are, what they tell each other, and that none waits for one that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowops.runs import processes
from flowops.runs.processes import Interrupted, started
from tests.programs import ROOT
from tests.runs.processes import in_processes

VARIABLES = (
    *("TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "WORLD_SIZE"),
    *("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES"),
)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "16", "SLURM_NNODES": "2"}, (8, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, None),
        ({"WORLD_SIZE": "8"}, None),
    ],
)
def test_processes_that_were_started_are_counted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: tuple[int, int] | None
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started() == found


def test_the_message_says_how_to_go_on() -> None:
    text = "Interrupted after step 3 of 10; go on with resume=True and out=runs/a."
    assert str(Interrupted(3, 10, Path("runs/a"), "SIGINT")) == text
    assert str(Interrupted(3, 0, Path("runs/a"), "SIGINT")) == text.replace(" of 10", "")


def fails() -> int:
    raise ValueError("mine")


def test_one_process_alone_does_everything() -> None:
    assert (processes.rank(), processes.ranks(), processes.share(5)) == (0, 1, range(5))
    assert processes.collected(lambda: 3) == [3]
    every = (processes.together, processes.told, processes.on_first, processes.first_alone)
    assert [shared(lambda: 3) for shared in every] == [3, 3, 3, 3]
    for shared in (processes.collected, *every):
        with pytest.raises(ValueError, match="mine"):
            shared(fails)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100])
def test_shares_are_all_numbers_in_their_order(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ranks", lambda: 3)
    shares = []
    for k in range(3):
        monkeypatch.setattr(processes, "rank", lambda k=k: k)
        shares.append(processes.share(n))
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


PROGRAM = """
import json
from flowops.runs import processes
said = {
    "rank": [processes.rank(), processes.ranks(), list(processes.share(7))],
    "collected": processes.collected(lambda: number + 10),
    "told": processes.told(lambda: number + 10),
    "on_first": processes.on_first(lambda: number + 10),
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

failing = {processes.collected: 1, processes.told: 0, processes.on_first: 0}
said["faults"] = [*(fault(shared, k) for shared, k in failing.items()), fault(processes.told, 1)]
said["after"] = processes.told(lambda: "still together")
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


@pytest.mark.slow
@pytest.mark.dist
def test_torchrun_decides_how_many_processes_there_are(tmp_path: Path) -> None:
    words = (
        *("train", "checkerboard", "--steps", "2", "--batch", "8", "--network", "mlp", "--network.options", "width=4"),
        *("--hardware.accelerator", "cpu", "--out", str(tmp_path / "run"), "--log.no-tensorboard"),
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flowops.cli")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *words], env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"processes": 2' in (tmp_path / "run" / "run.json").read_text()
    assert done.stdout.count("step 2 of 2") == 1

"""Two processes train what one does: gradients are averaged over the joint batch, though the loss takes a derivative.

The launcher starts the second process by running the program again.
"""

from __future__ import annotations

import csv
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from flowops.runs.checkpoint import load_checkpoint
from flowops.training import HardwareConfig, LogConfig, NetworkConfig, TrainConfig, train
from tests.data.image_files import encoded, pixels, written_folder
from tests.programs import run

pytestmark = [pytest.mark.dist, pytest.mark.slow]


def config(
    folder: Path,
    name: str,
    processes: int = 2,
    dataset: str = "checkerboard",
    method: str = "lsd",
    coupling: str = "independent",
    accumulate: int = 1,
) -> TrainConfig:
    """A run of six steps."""
    small, images = (
        NetworkConfig("mlp", width=8, depth=2, octaves=1),
        NetworkConfig("unet", channels=4, multipliers=(1,), blocks=1),
    )
    hardware = HardwareConfig(
        "cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", accumulate=accumulate
    )
    return TrainConfig(
        dataset, method=method, steps=6, batch=16, checkpoint_every=2, out=str(folder / name), hardware=hardware,
        network=small if dataset == "checkerboard" else images, coupling=coupling,
        log=LogConfig(telemetry_every=3, tensorboard=False, progress=False),
    )  # fmt: skip


PROGRAM = f"""
from __future__ import annotations
import os, signal, warnings, torch
from pathlib import Path
warnings.simplefilter("ignore")
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, TrainConfig
from flowops.training import train
from flowops.training.engine import Engine

{inspect.getsource(config)}
torch.set_num_threads(1)
folder, plain = Path(__file__).parent, Engine._advance
"""


def weights(folder: Path, name: str, step: int) -> dict[str, Tensor]:
    return load_checkpoint(folder / name / "checkpoints" / str(step)).weights


SETTINGS: dict[str, tuple[Any, ...]] = {
    "points": ("checkerboard", "lsd"),
    "images": ("digits", "meanflow"),
    "pairs and parts": ("checkerboard", "psd-m", "optimal-transport", 2),
}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes train, one run after the other; after every step their parameters are the same."""
    folder = tmp_path_factory.mktemp("together")
    body = f"""
def advance(self, *arguments):
    report = plain(self, *arguments)
    own = torch.cat([p.detach().flatten() for p in self.module.parameters()])
    both = self.fabric.all_gather(own)
    assert self.fabric.world_size == 2 and torch.equal(both[0], both[1]), "the parameters of the two processes differ"
    return report
Engine._advance = advance
for name, settings in {SETTINGS!r}.items():
    train(config(folder, name, 2, *settings))
"""
    run(folder, PROGRAM + body)
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_are_one_process_on_the_joint_batch(tmp_path: Path, together: Path, name: str) -> None:
    train(config(tmp_path, "one", 1, *SETTINGS[name]))
    one, two = weights(tmp_path, "one", 6), weights(together, name, 6)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
    alone, both = (metrics(folder / where / "metrics.csv") for folder, where in ((tmp_path, "one"), (together, name)))
    assert any(key.startswith("loss/") for key in alone)  # of every term as of the loss: the mean over the joint batch
    assert both.keys() == alone.keys()
    for key, values in alone.items():
        assert both[key] == pytest.approx(values, rel=1e-3), key


def metrics(path: Path) -> dict[str, list[float]]:
    """The columns of a table that say what the loss is."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [key for key in rows[0] if key.startswith("loss")]
    return {key: [float(row[key]) for row in rows] for key in names}


def test_two_processes_go_on_bit_for_bit(tmp_path: Path) -> None:
    killed = """
def advance(self, *arguments):
    report = plain(self, *arguments)
    if self.step == 5:
        if self.fabric.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    return report
Engine._advance = advance
train(config(folder, "parts"))
"""
    run(tmp_path, PROGRAM + killed)
    assert not (tmp_path / "parts" / "checkpoints" / "6").exists()
    run(tmp_path, PROGRAM + 'train(config(folder, "parts"), resume=True)\ntrain(config(folder, "whole"))')
    whole, parts = weights(tmp_path, "whole", 6), weights(tmp_path, "parts", 6)
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


class Told(NamedTuple):
    """What two processes printed, and the folder in which they left files."""

    folder: Path
    said: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Two processes of which one meets with something, five times."""
    folder = tmp_path_factory.mktemp("told")
    written_folder(folder / "images", {f"{k}.png": encoded(pixels(k, 8, 8)) for k in range(20)})
    body = """
from dataclasses import replace
from flowops.data import image_folder
from flowops.data.files import packed
from flowops.training import CheckpointError, Interrupted
rank = lambda: os.environ.get("LOCAL_RANK", "0")
image_folder._RESIDENT = 0  # every set is large
read, load = image_folder.read, packed.load

def noted(what, work):
    def call(*arguments):
        with (folder / "calls").open("a") as file:
            file.write(f"{rank()} {what}\\n")
        return work(*arguments)
    return call

image_folder.read, packed.load = noted("reads", read), noted("looks", load)
assert train(config(folder, "packed", 2, f"folder:{folder / 'images'}")).step == 6

(folder / "taken").mkdir(exist_ok=True)
(folder / "taken" / "file").touch()
try:
    train(config(folder, "taken"))
except FileExistsError as error:
    print("refused:", error)

train(config(folder, "run"))
(folder / "run" / "metrics.csv").write_text("something else\\n")
try:
    train(replace(config(folder, "run"), steps=8), resume=True)
except ValueError as error:
    print("refused:", error)

def advance(self, *arguments):
    report = plain(self, *arguments)
    if self.step == 3 and self.fabric.global_rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return report
Engine._advance = advance
try:
    train(config(folder, "stopped"))
except Interrupted as stop:
    (folder / f"stopped-{rank()}").write_text(stop.signal)

def full(self):
    raise CheckpointError("no space left")
Engine._advance, Engine._save = plain, full
try:
    train(config(folder, "full"))
except CheckpointError as error:
    (folder / f"full-{rank()}").write_text(str(error))
"""
    return Told(folder, run(folder, PROGRAM + body))


def test_a_large_set_is_packed_by_the_first_process_before_the_others_look(told: Told) -> None:
    calls = (told.folder / "calls").read_text().splitlines()
    assert calls.count("0 reads") == 1
    assert "1 reads" not in calls
    assert calls.index("0 reads") < calls.index("1 looks")


def test_a_fault_of_the_first_process_ends_both_with_its_sentence(told: Told) -> None:
    assert "pass resume=True" in told.said


def test_so_does_a_table_that_cannot_be_continued(told: Told) -> None:
    assert told.said.count("must have the columns") == 2  # of both processes


def test_every_process_learns_of_a_signal_and_of_a_full_disk(told: Told) -> None:
    for rank in range(2):
        assert (told.folder / f"stopped-{rank}").read_text() == "SIGTERM"
        assert (told.folder / f"full-{rank}").read_text() == "no space left"

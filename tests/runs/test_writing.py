"""Many samples on disk: those of the run, with a chunk of them in memory, from one process or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowops.data import to_uint8
from flowops.runs import Run, write_samples
from flowops.runs.writing import _gaps
from flowops.training import train
from tests.images import read
from tests.runs.processes import in_processes
from tests.runs.small import Make, maker, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Settings of runs that several tests look at."""
    return maker(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def digits(trained: Make) -> Run:
    """A run with labels; tests must not change it."""
    return train(trained("digits", "digits", steps=3), report=silent)


@pytest.fixture(scope="module")
def board(trained: Make) -> Run:
    """A run of points; tests must not change it."""
    return train(trained("board", steps=1), report=silent)


def pixels(path: Path, n: int) -> Any:
    """The images of a file, or those of a folder."""
    if path.is_dir():
        return np.stack([read(path / f"{k:06d}.png")[..., :1] for k in range(n)])
    with np.load(path) as held:
        return held["arr_0"].astype(int)


@pytest.mark.parametrize("name", ["x.npz", "samples"])
@pytest.mark.parametrize("label", [None, 3, list(range(5, 10)) * 5])
def test_they_are_those_of_the_run(tmp_path: Path, digits: Run, name: str, label: int | list[int] | None) -> None:
    told: list[int] = []
    way: dict[str, Any] = {"grid": [0.0, 0.4, 1.0], "seed": 3, "label": label, "guidance": 1.5}
    done = write_samples(digits, tmp_path / name, 25, chunk=10, report=told.append, **way)
    assert (done.sampler, done.drawn, done.calls) == ("map, 2 steps", 25, 4)
    assert done.seconds > 0
    assert told == [10, 20, 25]
    wanted = to_uint8(digits.draw(25, chunk=10, **way).x).permute(0, 2, 3, 1).numpy()
    assert (pixels(tmp_path / name, 25) == wanted).all()
    if name == "x.npz":
        with np.load(tmp_path / name) as held:
            assert held["arr_1"].tolist() == digits.conditioning(25, label).labels.tolist()  # type: ignore[union-attr]


def test_never_more_than_a_chunk_is_drawn(tmp_path: Path, digits: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, draw = [], Run.draw

    def noted(self: Run, n: int = 64, **way: Any) -> Any:
        sizes.append(n)
        return draw(self, n, **way)

    monkeypatch.setattr(Run, "draw", noted)
    monkeypatch.setattr("flowops.sampling.cost.ELEMENTS", 7 * 64)
    write_samples(digits, tmp_path / "samples", 16)
    assert sizes == [7, 7, 2]


def test_what_is_there_is_not_drawn_again(tmp_path: Path, digits: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(digits, tmp_path / "samples", 12, seed=1)
    whole = pixels(tmp_path / "samples", 12)
    for number in (2, 3, 11):
        (tmp_path / "samples" / f"{number:06d}.png").unlink()
    stretches, draw = [], Run.draw

    def noted(self: Run, n: int = 64, *, start: int = 0, **way: Any) -> Any:
        stretches.append((start, n))
        return draw(self, n, start=start, **way)

    monkeypatch.setattr(Run, "draw", noted)
    done = write_samples(digits, tmp_path / "samples", 15, seed=1, chunk=3)
    assert stretches == [(2, 2), (11, 3), (14, 1)]
    assert done.drawn == 6
    assert (pixels(tmp_path / "samples", 12) == whole).all()
    again = write_samples(digits, tmp_path / "samples", 15, seed=1)
    assert (again.drawn, again.sampler, again.calls) == (0, "", 0)
    with pytest.raises(ValueError, match="`n` must be at least 15, the number of pictures"):
        write_samples(digits, tmp_path / "samples", 14, seed=1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"label": 2}, "label"),
        ({"guidance": 2.0}, "guidance"),
        ({"grid": [0.0, 0.2, 1.0]}, "sampler"),
        ({"grid": [0.0, 0.5, 1.0], "gamma": 0.5}, "sampler"),
    ],
)
def test_samples_of_other_settings_are_not_mixed(
    tmp_path: Path, digits: Run, change: dict[str, Any], name: str
) -> None:
    write_samples(digits, tmp_path, 3, grid=[0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match=f"holds those with {name} "):
        write_samples(digits, tmp_path, 3, **{"grid": [0.0, 0.5, 1.0], **change})


def test_samples_of_other_weights_or_another_precision_are_not_mixed(tmp_path: Path, digits: Run) -> None:
    write_samples(digits, tmp_path, 3)
    with pytest.raises(ValueError, match="holds those with precision 32 in place of bf16"):
        write_samples(digits.on(precision="bf16"), tmp_path, 3)
    with pytest.raises(ValueError, match="holds those with weights sha256 "):
        write_samples(Run.load(digits.folder.path, average="none"), tmp_path, 3)
    assert write_samples(Run.load(digits.folder.path), tmp_path, 3).drawn == 0


def test_points_go_to_a_file_as_they_are(tmp_path: Path, board: Run) -> None:
    write_samples(board, tmp_path / "x.npz", 9, steps=2, chunk=4)
    with np.load(tmp_path / "x.npz") as held:
        assert held.files == ["arr_0"]
        torch.testing.assert_close(torch.from_numpy(held["arr_0"]), board.sample(9, steps=2))
    with pytest.raises(ValueError, match=r"`path` must end in \.npz for samples of shape \[2\], got .*samples"):
        write_samples(board, tmp_path / "samples", 9)


@pytest.mark.parametrize("way", [{"steps": 0}, {"solver": "rk45"}, {"label": 12}, {"chunk": 0}, {"gamma": 3.0}])
def test_what_run_draw_refuses_leaves_nothing(tmp_path: Path, digits: Run, way: dict[str, Any]) -> None:
    for name in ("x.npz", "samples"):
        with pytest.raises(ValueError, match="must"):
            write_samples(digits, tmp_path / name, 3, **way)
    assert list(tmp_path.iterdir()) == []


def test_gaps_are_what_is_not_held() -> None:
    assert list(_gaps(set(), 3)) == [range(3)]
    assert list(_gaps({0, 1, 4}, 6)) == [range(2, 4), range(5, 6)]
    assert list(_gaps({0, 1, 2}, 3)) == []


PROGRAM = """
import json
from flowops.pictures import PictureFolder
from flowops.runs import Run, write_samples
run, drawn, draw = Run.load({folder!r}), [], Run.draw
def noted(self, n, *, start=0, **way):
    drawn.append([start, n])
    return draw(self, n, start=start, **way)
Run.draw = noted
told = []
done = [write_samples(run, folder / name, 25, chunk=4, seed=2, report=told.append) for name in ("x.npz", "samples")]
def full(*_):
    raise OSError(28, "No space left on device")
PictureFolder.add = full
try:
    write_samples(run, folder / "full", 25, chunk=4)
except OSError as error:
    print(json.dumps([drawn, told, [each.drawn for each in done], str(error)]))
"""


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_write_what_one_does(tmp_path: Path, digits: Run) -> None:
    """They draw in turn, the first one writes, and both hear of a full disk."""
    said = [json.loads(text) for text in in_processes(tmp_path, PROGRAM.format(folder=str(digits.folder.path)))]
    blocks = [[low, min(4, 25 - low)] for low in range(0, 25, 4)]
    for k, (drawn, told, done, error) in enumerate(said):
        mine = blocks[k::2]
        assert drawn == mine + mine + mine[:1]
        assert told == ([8, 16, 24, 25] * 2 if k == 0 else [])
        assert done == [25, 25]
        assert error == "[Errno 28] No space left on device"
    wanted = to_uint8(digits.draw(25, chunk=4, seed=2).x).permute(0, 2, 3, 1).numpy()
    assert (pixels(tmp_path / "x.npz", 25) == wanted).all()
    assert (pixels(tmp_path / "samples", 25) == wanted).all()

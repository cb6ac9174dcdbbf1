"""ImageNet-32 from small files in both published formats: the same samples, the right version, errors with names."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowops.data import Images, imagenet32, open_dataset
from flowops.data.files.imagenet_batches import read_batch
from flowops.data.files.sources import TARS
from flowops.data.imagenet32 import open_imagenet32
from tests.data.image_files import Pixels, encoded, pixels, planes, written_folder, written_tar, written_zip

TRAIN = [f"train_data_batch_{number}" for number in range(1, 11)]
RANDOM = np.random.default_rng(0)
BATCHES: dict[str, dict[str, Any]] = {
    name: {
        "data": RANDOM.integers(0, 256, (2 + (name == TRAIN[-1]), 3072), dtype=np.uint8),
        "labels": RANDOM.integers(1, 1001, 2 + (name == TRAIN[-1])).tolist(),
        "mean": RANDOM.random(3072),
    }
    for name in [*TRAIN, "val_data"]
}
BATCHES["train_data_batch_1"]["labels"] = [1, 1000]


def write_pickle(folder: Path, name: str, batch: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(batch, 2))


def write_npz(folder: Path, name: str, batch: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", **batch)


WRITERS = pytest.mark.parametrize("write", [write_pickle, write_npz])
Writer = Callable[[Path, str, dict[str, Any]], None]


def write_all(write: Writer, folder: Path, without: str = "") -> Path:
    for name, batch in BATCHES.items():
        if name != without:
            write(folder, name, batch)
    return folder


@WRITERS
def test_rows_are_planes_of_red_green_and_blue_in_the_order_of_the_batches(write: Writer, tmp_path: Path) -> None:
    images = open_imagenet32(write_all(write, tmp_path))
    data = np.concatenate([BATCHES[name]["data"] for name in TRAIN])
    pixels = images.pixels()
    assert pixels.shape == (21, 3, 32, 32)
    for channel, row, column in ((0, 0, 0), (1, 0, 0), (2, 31, 30), (0, 1, 0)):
        expected = data[:, 1024 * channel + 32 * row + column]
        assert pixels[:, channel, row, column].tolist() == expected.tolist()
    assert images.pixels("test").flatten(1).tolist() == BATCHES["val_data"]["data"].tolist()


@WRITERS
def test_labels_count_from_zero(write: Writer, tmp_path: Path) -> None:
    images = open_imagenet32(write_all(write, tmp_path))
    labels = images.splits["train"].labels
    assert labels is not None
    assert labels.tolist() == [label - 1 for name in TRAIN for label in BATCHES[name]["labels"]]
    assert labels[:2].tolist() == [0, 999]
    assert (len(images.classes), images.classes[0], images.classes[999]) == (1000, "1", "1000")


def test_both_formats_are_the_same_set_and_say_which_version_they_are(tmp_path: Path) -> None:
    pickled, npz = (open_imagenet32(write_all(w, tmp_path / w.__name__)) for w in (write_pickle, write_npz))
    assert torch.equal(pickled.batch(1, 30, seed=0).x1, npz.batch(1, 30, seed=0).x1)
    for images, form in ((pickled, "pickled"), (npz, ".npz")):
        start = f"imagenet32: box-resized batches ({form}), Chrabaszcz et al. 1707.08819; 21 train, 2 test images"
        assert images.provenance.startswith(f"{start} (not the 1281167 of the published set); channel means ")
    assert pickled.provenance.split("; ")[1:] == npz.provenance.split("; ")[1:]
    means = images.provenance.split("channel means ")[1].split(";")[0].split()
    data = np.concatenate([BATCHES[name]["data"] for name in TRAIN]).reshape(-1, 3, 1024)
    np.testing.assert_allclose([float(mean) for mean in means], data.mean((0, 2)), atol=0.005)


def test_the_published_count_is_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet32, "_BOX", 21)
    assert "not the" not in open_imagenet32(write_all(write_pickle, tmp_path)).provenance


def test_batches_may_lie_where_their_archives_unpack(tmp_path: Path) -> None:
    for name, batch in BATCHES.items():
        write_npz(tmp_path / ("Imagenet32_val_npz" if name == "val_data" else "Imagenet32_train_npz"), name, batch)
    assert list(open_imagenet32(tmp_path).splits) == ["train", "test"]


@pytest.mark.parametrize("kind", ["folder", *TARS, ".zip"])
def test_the_older_version_has_no_labels_and_says_so(kind: str, tmp_path: Path) -> None:
    arrays = {name: {f"{k:07d}.png": pixels(7 * k + s, 32, 32) for k in range(3 - s)} for s, name in enumerate("tv")}
    for name, stem in (("t", "train_32x32"), ("v", "valid_32x32")):
        files = {f"{stem}/{file}": encoded(array) for file, array in arrays[name].items()}
        if kind == "folder":
            written_folder(tmp_path, files)
        else:
            (written_zip if kind == ".zip" else written_tar)(tmp_path / f"{stem}{kind}", files)
    images = open_imagenet32(tmp_path)
    start = "imagenet32: unlabelled images, van den Oord et al. 1601.06759; 3 train, 2 test images (not the 1281149 "
    assert images.provenance.startswith(start)
    assert images.classes == ()
    assert images.batch(0, 2, seed=0).labels is None
    for split, name in (("train", "t"), ("test", "v")):
        expected = np.stack([planes(array) for array in arrays[name].values()])
        assert np.array_equal(images.pixels(split).numpy(), expected)


def test_it_is_packed_once_and_packed_anew_when_the_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_all(write_pickle, tmp_path / "batches")
    first = open_imagenet32(folder)
    assert isinstance(first, Images)
    assert first.resident == "auto"
    assert list((folder / ".flowops").glob("train-*.npy"))
    reads = []

    def counted(file: Path, count: int) -> Pixels:
        reads.append(file)
        return read_batch(file, count)

    monkeypatch.setattr(imagenet32, "read_batch", counted)
    again = open_imagenet32(folder)
    assert (reads, again.provenance) == ([], first.provenance)
    os.utime(folder / TRAIN[3], ns=(1, 1))
    open_imagenet32(folder)
    assert len(reads) == 11
    open_imagenet32(folder, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").glob("train-*.npy"))


def test_a_malicious_batch_is_refused_and_not_run(tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    folder = write_all(write_pickle, tmp_path / "x")
    write_pickle(folder, TRAIN[6], BATCHES[TRAIN[6]] | {"mean": Call()})
    with pytest.raises(ValueError, match=r"got .*train_data_batch_7, which asks for posix.mkdir"):
        open_imagenet32(folder)
    assert not (tmp_path / "made").exists()
    assert not list((folder / ".flowops").glob("*.npy"))


def test_pickled_objects_in_an_npz_are_refused(tmp_path: Path) -> None:
    folder = write_all(write_npz, tmp_path)
    write_npz(folder, TRAIN[2], BATCHES[TRAIN[2]] | {"labels": np.array([None, 1], dtype=object)})
    with pytest.raises(
        ValueError, match="^`path` must hold .npz files with an array 'labels', got .*_3.npz: .*allow_pickle"
    ):
        open_imagenet32(folder)
    np.save(folder / "one.npy", np.zeros(3))
    (folder / "one.npy").replace(folder / f"{TRAIN[2]}.npz")
    with pytest.raises(ValueError, match=r"an array 'labels', got .*train_data_batch_3.npz: .*; fetch it again"):
        open_imagenet32(folder)


@WRITERS
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": [0, 5]}, "labels from 1 to 1000, got 0 to 5 in .*train_data_batch_2"),
        ({"labels": [4, 1001]}, "labels from 1 to 1000, got 4 to 1001"),
        ({"labels": [0.5, 1.5]}, r"labels from 1 to 1000, got float64 of shape \[2\]"),
        ({"labels": [1, 2, 3]}, r"uint8 of shape \[3, 3072\], one row per label, got uint8 of shape \[2, 3072\]"),
        (
            {"data": np.zeros((2, 12288), np.uint8)},
            r"got uint8 of shape \[2, 12288\] in .*_2.*; fetch the files for 32",
        ),
        ({"data": np.zeros((2, 3072))}, r"got float64 of shape \[2, 3072\]"),
    ],
)
def test_unsuitable_batches_are_named(write: Writer, change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    folder = write_all(write, tmp_path)
    write(folder, TRAIN[1], BATCHES[TRAIN[1]] | change)
    with pytest.raises(ValueError, match=sentence):
        open_imagenet32(folder)


@WRITERS
def test_a_missing_batch_is_named_but_a_validation_batch_may_be_missing(write: Writer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every batch once, got none named train_data_batch_4"):
        open_imagenet32(write_all(write, tmp_path / "x", without=TRAIN[3]))
    assert list(open_imagenet32(write_all(write, tmp_path / "y", without="val_data")).splits) == ["train"]


def test_a_batch_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = write_all(write_pickle, tmp_path)
    write_pickle(folder / "again", TRAIN[0], BATCHES[TRAIN[0]])
    with pytest.raises(ValueError, match="every batch once, got 2 of them named train_data_batch_1"):
        open_imagenet32(folder)


def test_pickles_that_hold_something_else_are_named(tmp_path: Path) -> None:
    folder = write_all(write_pickle, tmp_path)
    for content in ([1, 2], {"other": 1}):
        (folder / TRAIN[0]).write_bytes(pickle.dumps(content))
        with pytest.raises(
            ValueError, match="batches with an entry 'labels', got .*train_data_batch_1, which has none"
        ):
            open_imagenet32(folder)


def test_a_folder_without_either_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got the empty folder"):
        open_imagenet32(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="or with train_32x32 .*, which holds neither"):
        open_dataset("imagenet32", path=tmp_path)
    with pytest.raises(NotADirectoryError, match="a folder, got the file .*notes.txt"):
        open_imagenet32(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match="where there is nothing"):
        open_imagenet32(tmp_path / "gone")
